/**
 * Every Redis key of this package.
 *
 * | key                | type   | holds                                                       | life, and who deletes it |
 * | ------------------ | ------ | ----------------------------------------------------------- | ------------------------ |
 * | mh:{limit}:<class> | string | when the bucket of a class of requests is full again, µs    | expiry, at that time     |
 */
export const keys = {
  limit: (requestClass: string) => `mh:{limit}:${requestClass}`,
};
