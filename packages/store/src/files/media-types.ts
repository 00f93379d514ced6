/** File extensions and media types, for uploads that lack one of them. `extensionOf` answers the first extension of a type. */
const EXTENSIONS: Readonly<Record<string, readonly string[]>> = {
  'text/plain': ['txt', 'log'],
  'text/csv': ['csv'],
  'text/markdown': ['md', 'markdown'],
  'text/html': ['html', 'htm'],
  'text/css': ['css'],
  'text/javascript': ['js', 'mjs'],
  'application/json': ['json'],
  'application/xml': ['xml'],
  'application/yaml': ['yaml', 'yml'],
  'application/pdf': ['pdf'],
  'application/zip': ['zip'],
  'application/gzip': ['gz', 'tgz'],
  'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet': ['xlsx'],
  'application/vnd.openxmlformats-officedocument.wordprocessingml.document': ['docx'],
  'application/vnd.openxmlformats-officedocument.presentationml.presentation': ['pptx'],
  'image/png': ['png'],
  'image/jpeg': ['jpg', 'jpeg'],
  'image/gif': ['gif'],
  'image/webp': ['webp'],
  'image/svg+xml': ['svg'],
  'audio/mpeg': ['mp3'],
  'audio/wav': ['wav'],
  'video/mp4': ['mp4'],
};
const TYPES = new Map(
  Object.entries(EXTENSIONS).flatMap(([type, extensions]) => extensions.map((extension) => [extension, type] as const)),
);
/** The type of bytes of which nothing is known. */
export const UNKNOWN_MEDIA_TYPE = 'application/octet-stream';

/** With its dot; empty for a type that is not known. */
export function extensionOf(mediaType: string): string {
  const [extension] = EXTENSIONS[mediaType] ?? [];
  return extension === undefined ? '' : `.${extension}`;
}

export function mediaTypeOf(filename: string): string {
  const extension = /\.([A-Za-z0-9]+)$/.exec(filename)?.[1]?.toLowerCase();
  return (extension === undefined ? undefined : TYPES.get(extension)) ?? UNKNOWN_MEDIA_TYPE;
}
