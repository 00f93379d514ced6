/** MO-1, MO-2: the models an operator lists. Any other id may be used in agents all the same. */
import { invalidRequest, notFound } from '@manyhands/base';
import { type ModelInfo, timestamp } from '@manyhands/contract';
import type { FastifyInstance } from 'fastify';
import { readQuery } from '../../http/query.ts';

const LIFECYCLES = ['active', 'deprecated', 'retired'];

/** What is not known is null; an unknown time of creation is the epoch. */
function describeModel(id: string): ModelInfo {
  return {
    type: 'model',
    id,
    display_name: id,
    created_at: timestamp(0),
    lifecycle: 'active',
    line: null,
    max_input_tokens: null,
    max_tokens: null,
    deprecated_at: null,
    retires_at: null,
    allowed_fallback_models: null,
    capabilities: null,
  };
}

export function registerModels(app: FastifyInstance, ids: readonly string[]): void {
  const models = ids.map(describeModel);

  app.get('/v1/models', async (request) => {
    const query = readQuery(request, ['limit', 'after_id', 'before_id', 'lifecycle[]']);
    const limit = query.limit(20, 1000);
    const lifecycles = query.list('lifecycle', LIFECYCLES, LIFECYCLES.length);
    const after = query.text('after_id');
    const before = query.text('before_id');
    if (after !== undefined && before !== undefined) throw invalidRequest('before_id: cannot be combined with after_id');
    const listed = models.filter(({ lifecycle }) => lifecycles?.has(lifecycle) ?? true);
    const place = (name: string, id: string) => {
      const index = listed.findIndex((model) => model.id === id);
      if (index < 0) throw invalidRequest(`${name}: no model of this list has the id ${JSON.stringify(id)}`);
      return index;
    };
    let start = after === undefined ? 0 : place('after_id', after) + 1;
    let end = Math.min(listed.length, start + limit);
    let more = end < listed.length;
    if (before !== undefined) {
      end = place('before_id', before);
      start = Math.max(0, end - limit);
      more = start > 0;
    }
    const data = listed.slice(start, end);
    return { data, has_more: more, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  });

  app.get<{ Params: { model_id: string } }>('/v1/models/:model_id', async (request) => {
    readQuery(request, []);
    const model = models.find(({ id }) => id === request.params.model_id);
    if (!model) throw notFound('model', request.params.model_id);
    return model;
  });
}
