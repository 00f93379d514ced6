/**
 * Every Redis key of this package.
 *
 * | key       | type   | holds                                            | life, and who deletes it |
 * | --------- | ------ | ------------------------------------------------ | ------------------------ |
 * | mh:format | string | the format of the installation, a whole number   | for ever                 |
 */
export const FORMAT_KEY = 'mh:format';

/**
 * The list of API keys of the default workspace, which belongs to packages/store. In 0.1.0 a gateway answers nobody before it has made one, keys
 * are made nowhere else, and the list is never deleted: where it is not, there is no data of 0.1.0.
 */
export const SIGN_OF_0_1_0 = 'mh:{wrkspc_default}:apikeys';
