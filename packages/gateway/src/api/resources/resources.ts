/** RS-1..5: the resources of a session, which for now are files. */
import { decodeCursor, encodeCursor, invalidRequest, notFound } from '@manyhands/base';
import { FILES_PER_SESSION_MAX, isId, ResourceIn, ResourceUpdate } from '@manyhands/contract';
import { type SessionFile, toFileResource } from '@manyhands/session-log';
import type { FastifyInstance } from 'fastify';
import type { GatewayDeps } from '../../deps.ts';
import { identityOf } from '../../http/auth.ts';
import { parseBody, refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';
import { checkResources, mountFile, mountPathOf, pathTaken } from '../files/session-files.ts';
import type { SessionLookup } from '../sessions/session-lookup.ts';
import { sessionArchived } from '../sessions/session-update.ts';

interface ResourcesRoute {
  Params: { session_id: string };
}
interface ResourceRoute {
  Params: { session_id: string; resource_id: string };
}
/** A page starts behind a resource, given by time and id, which holds also when that one was deleted. */
type Place = { t: number; i: string };
const isPlace = (value: unknown): value is Place => {
  const { t, i } = (value ?? {}) as Partial<Place>;
  return typeof t === 'number' && typeof i === 'string';
};

export function tooManyFiles(sessionId: string) {
  return invalidRequest(`session ${sessionId} has ${FILES_PER_SESSION_MAX} files already, the most there may be; delete one first`);
}

export function registerResources(app: FastifyInstance, deps: GatewayDeps, sessions: SessionLookup): void {
  const { sessionLog, files, log } = deps;
  const all = '/v1/sessions/:session_id/resources';
  const one = `${all}/:resource_id`;

  function find(resources: readonly SessionFile[], id: string): SessionFile {
    const found = isId('sessionResource', id) ? resources.find((resource) => resource.id === id) : undefined;
    if (!found) throw notFound('session resource', id);
    return found;
  }

  app.get<ResourcesRoute>(all, async (request) => {
    const query = readQuery(request, ['limit', 'page']);
    const limit = query.limit();
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    const cursor = query.text('page');
    const list = `resources:${stored.record.id}`;
    const after = cursor === undefined ? null : decodeCursor(list, 'asc', isPlace, cursor);
    const rest = stored.files.filter(({ created_at_ms: t, id }) => after === null || t > after.t || (t === after.t && id > after.i));
    const page = rest.slice(0, limit);
    const last = page.at(-1);
    return {
      data: page.map(toFileResource),
      next_page: rest.length > limit && last ? encodeCursor(list, 'asc', { t: last.created_at_ms, i: last.id }) : null,
    };
  });

  app.get<ResourceRoute>(one, async (request) => {
    readQuery(request, []);
    const { session_id, resource_id } = request.params;
    return toFileResource(find((await sessions.get(identityOf(request), session_id)).files, resource_id));
  });

  app.post<ResourceRoute>(one, async (request) => {
    readQuery(request, []);
    const { session_id, resource_id } = request.params;
    const { id } = find((await sessions.get(identityOf(request), session_id)).files, resource_id);
    parseBody(ResourceUpdate, request.body);
    throw invalidRequest(`authorization_token: ${id} is a file; only the tokens of github_repository resources can be replaced`);
  });

  app.post<ResourcesRoute>(all, async (request) => {
    readQuery(request, []);
    const { workspace_id } = identityOf(request);
    const { record, state } = await sessions.get(identityOf(request), request.params.session_id);
    if (state.archived_at_ms !== null) throw sessionArchived(record.id);
    const wanted = parseBody(ResourceIn, request.body);
    const [file] = await checkResources(deps, workspace_id, [wanted]);
    if (!file) throw notFound('file', wanted.file_id);
    const mounted = await mountFile(deps, workspace_id, record.id, file, mountPathOf(wanted));
    const result = await sessionLog.addFile(record.id, mounted);
    if (result.outcome === 'added') return toFileResource(mounted);
    // The session, if it is still there, has the copy among its files; nothing refers to it.
    await files
      .delete(workspace_id, mounted.file_id)
      .catch((error: unknown) => log.warn({ err: error, sessionId: record.id }, 'copy left'));
    if (result.outcome === 'taken') throw pathTaken('mount_path', result.path);
    if (result.outcome === 'archived') throw sessionArchived(record.id);
    if (result.outcome === 'too_many') throw tooManyFiles(record.id);
    throw notFound('session', record.id);
  });

  app.delete<ResourceRoute>(one, async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    const { session_id, resource_id } = request.params;
    const { workspace_id } = identityOf(request);
    const { id, file_id } = find((await sessions.get(identityOf(request), session_id)).files, resource_id);
    const outcome = await sessionLog.removeFile(session_id, id);
    if (outcome === 'archived') throw sessionArchived(session_id);
    if (outcome === 'missing') throw notFound('session', session_id);
    if (outcome === 'unknown') throw notFound('session resource', id);
    await files.delete(workspace_id, file_id);
    return { id, type: 'session_resource_deleted' };
  });
}
