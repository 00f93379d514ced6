/** The blob store port and its directory driver. */
export { type BlobStore, isBlobKey } from './blob-store.ts';
export { createDirectoryBlobStore } from './directory-blob-store.ts';
