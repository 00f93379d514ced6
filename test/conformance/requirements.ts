/**
 * What is promised, by id. `source` says where the promise comes from: an endpoint or section of the contract, an invariant of the design
 * (I1..I14), or a section of the platform's behaviour. `coverage.test.ts` fails on a promise without a scenario.
 */
import { CLIENTS } from './requirements/clients.ts';
import { RESOURCES } from './requirements/resources.ts';
import { SESSIONS } from './requirements/sessions.ts';
import { TOOLS } from './requirements/tools.ts';
import { TURNS } from './requirements/turns.ts';
import { WIRE } from './requirements/wire.ts';

export type { Requirement } from './requirements/requirement.ts';

export const REQUIREMENTS = { ...RESOURCES, ...WIRE, ...SESSIONS, ...TURNS, ...TOOLS, ...CLIENTS } as const;
export type RequirementId = keyof typeof REQUIREMENTS;
