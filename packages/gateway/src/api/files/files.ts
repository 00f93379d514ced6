/** FI-1..5: files. */
import { invalidRequest, notFound, WireError } from '@manyhands/base';
import { fileBlobKey, isId } from '@manyhands/contract';
import { type StoredFile, toFileMetadata } from '@manyhands/store';
import type { FastifyInstance } from 'fastify';
import type { GatewayDeps } from '../../deps.ts';
import { identityOf } from '../../http/auth.ts';
import { refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';
import { readUpload } from './upload.ts';

interface FileRoute {
  Params: { file_id: string };
}
export const FILES_PATH = '/v1/files';
const IDS_MAX = 100;
const RENEW_MS = 30_000;
const STORAGE_FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export function fileExpired(id: string): WireError {
  return new WireError('not_found_error', `file ${id} has expired and its content is gone`, { errorCode: 'file_expired' });
}
function storageFull(error: unknown): unknown {
  if (!STORAGE_FULL.has((error as NodeJS.ErrnoException | null)?.code ?? '')) return error;
  return invalidRequest('there is no room left for files; delete some', { errorCode: 'storage_quota_exceeded' });
}
/** In a header, a name is ASCII or percent-encoded. */
function disposition(filename: string): string {
  const ascii = filename.replaceAll(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(filename.replaceAll(/\p{Surrogate}/gu, '_')).replaceAll(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

export function registerFiles(app: FastifyInstance, deps: GatewayDeps, limitBytes: number): void {
  const { files, blobs, clock, ids, log } = deps;

  async function find(workspaceId: string, id: string): Promise<StoredFile> {
    const file = isId('file', id) ? await files.get(workspaceId, id) : null;
    if (!file) throw notFound('file', id);
    return file;
  }

  // Its bodies are read by the handler, as they come.
  void app.register(async (uploads) => {
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser('*', (_request, _payload, done) => done(null));
    uploads.post(FILES_PATH, async (request) => {
      const { workspace_id } = identityOf(request);
      const id = ids.id('file');
      let renewal: NodeJS.Timeout | undefined;
      try {
        readQuery(request, []);
        await files.pending(workspace_id, null, id);
        const renew = () =>
          files.pending(workspace_id, null, id).catch((error: unknown) => log.warn({ err: error, fileId: id }, 'upload was not renewed'));
        renewal = setInterval(renew, RENEW_MS);
        const { filename, mimeType, bytes, expiresInSeconds } = await readUpload(request.raw, limitBytes, (stream) =>
          blobs.put(fileBlobKey(workspace_id, null, id), stream),
        );
        const file = await files.create(workspace_id, {
          ...{ id, filename, mime_type: mimeType, size_bytes: bytes, session_id: null, origin: { kind: 'upload' } },
          expires_at_ms: expiresInSeconds === null ? null : clock.now() + expiresInSeconds * 1_000,
        });
        return toFileMetadata(file);
      } catch (error) {
        // Read to its end, so that a client that still sends gets to see the answer.
        request.raw.resume();
        // Failing that, a sweep finds it.
        await files.abandon(workspace_id, null, id).catch((cause: unknown) => log.warn({ err: cause, fileId: id }, 'upload left bytes'));
        throw storageFull(error);
      } finally {
        clearInterval(renewal);
      }
    });
  });

  app.get(FILES_PATH, async (request) => {
    const query = readQuery(request, ['limit', 'page', 'ids[]', 'scope_id']);
    const { workspace_id } = identityOf(request);
    const wanted = query.texts('ids');
    const scope = query.text('scope_id');
    if (wanted) {
      for (const name of ['limit', 'page'])
        if (query.text(name) !== undefined) throw invalidRequest(`${name}: not together with ids; ids are answered in a single page`);
      const unique = [...new Set(wanted)];
      if (unique.length > IDS_MAX) throw invalidRequest(`ids: at most ${IDS_MAX}`);
      const found = await files.getAll(
        workspace_id,
        unique.filter((id) => isId('file', id)),
      );
      const shown = scope === undefined ? found : found.filter(({ session_id }) => session_id === scope);
      return { data: shown.map(toFileMetadata), next_page: null };
    }
    const limit = query.limit();
    const cursor = query.text('page');
    // No session has such an id, so none of its files is there.
    if (scope !== undefined && !isId('session', scope)) return { data: [], next_page: null };
    const page = await files.list(workspace_id, { limit, cursor, sessionId: scope });
    return { data: page.data.map(toFileMetadata), next_page: page.next_page };
  });

  app.get<FileRoute>('/v1/files/:file_id', async (request) => {
    readQuery(request, []);
    return toFileMetadata(await find(identityOf(request).workspace_id, request.params.file_id));
  });

  app.get<FileRoute>('/v1/files/:file_id/content', async (request, reply) => {
    readQuery(request, []);
    const { workspace_id } = identityOf(request);
    const file = await find(workspace_id, request.params.file_id);
    if (files.isExpired(file)) throw fileExpired(file.id);
    if (!toFileMetadata(file).downloadable)
      throw invalidRequest(`file ${file.id} was uploaded and cannot be downloaded; only what sessions leave in their outputs can`, {
        errorCode: 'file_not_downloadable',
      });
    const blob = await blobs.open(fileBlobKey(workspace_id, file.session_id, file.id));
    // Deleted since it was found.
    if (!blob) throw notFound('file', file.id);
    return reply
      .header('content-length', String(blob.bytes))
      .header('content-disposition', disposition(file.filename))
      .header('x-content-type-options', 'nosniff')
      .type(file.mime_type)
      .send(blob.stream);
  });

  app.delete<FileRoute>('/v1/files/:file_id', async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    const { workspace_id } = identityOf(request);
    const { id, session_id, origin } = await find(workspace_id, request.params.file_id);
    if (origin.kind === 'mount')
      throw invalidRequest(`file ${id} is mounted in session ${session_id}; delete the session's resource instead`);
    await files.delete(workspace_id, id);
    return { id, type: 'file_deleted' };
  });
}
