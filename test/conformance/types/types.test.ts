import {
  AgentCreate,
  AgentUpdate,
  ClientEventIn,
  EnvironmentConfigIn,
  EnvironmentCreate,
  EnvironmentUpdate,
  ModelIn,
  SessionCreate,
  SessionUpdate,
} from '@manyhands/contract';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import type { Refused } from './assignable.ts';
import * as gaps from './requests.ts';

const VALID = {
  agent: { name: 'a', model: 'm' },
  environment: { name: 'e' },
  session: { agent: 'agent_1', environment_id: 'env_1' },
};
const cases: [string, z.ZodType, Record<string, unknown>, Record<string, Refused>][] = [
  ['AgentCreate', AgentCreate, VALID.agent, gaps.AGENT_CREATE_GAPS],
  ['AgentUpdate', AgentUpdate, {}, gaps.AGENT_UPDATE_GAPS],
  ['ModelIn', ModelIn, { id: 'm' }, gaps.MODEL_GAPS],
  ['EnvironmentCreate', EnvironmentCreate, VALID.environment, gaps.ENVIRONMENT_CREATE_GAPS],
  ['EnvironmentUpdate', EnvironmentUpdate, {}, gaps.ENVIRONMENT_UPDATE_GAPS],
  ['EnvironmentConfigIn', EnvironmentConfigIn, { type: 'cloud' }, gaps.CLOUD_CONFIG_REFUSED],
  ['SessionCreate', SessionCreate, VALID.session, gaps.SESSION_CREATE_GAPS],
  ['SessionUpdate', SessionUpdate, {}, gaps.SESSION_UPDATE_GAPS],
];

describe('what the types own as not accepted yet is refused', () => {
  for (const [name, schema, valid, owned] of cases) {
    test(`${name} takes the rest and refuses each of: ${Object.keys(owned).join(', ')}`, () => {
      expect(schema.safeParse(valid).success).toBe(true);
      for (const [field, { sample }] of Object.entries(owned)) {
        const parsed = schema.safeParse({ ...valid, [field]: sample });
        expect(parsed.success, `${name}.${field}`).toBe(false);
        expect(JSON.stringify(parsed.error?.issues), `${name}.${field}`).toContain(`"${field}"`);
      }
    });
  }

  test('ClientEventIn refuses each event kind of a later feature', () => {
    for (const [kind, { sample }] of Object.entries(gaps.EVENT_GAPS)) expect(ClientEventIn.safeParse(sample).success, kind).toBe(false);
    expect(ClientEventIn.safeParse({ type: 'user.message', content: [{ type: 'text', text: 'x' }] }).success).toBe(true);
  });
});
