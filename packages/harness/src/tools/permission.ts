/**
 * What becomes of a call that the model wants: whether its tool is there and switched on, what its policy says, and the event that tells it
 * (BEHAVIOUR 10, CONTRACT 4.4). A client's tool has no policy: its client decides.
 */
import type Anthropic from '@anthropic-ai/sdk';
import { BUILTIN_TOOLS, type BuiltinTool, customTools, enabledTools, permissionPolicy, type ToolEvaluation } from '@manyhands/contract';
import type { CallWait } from '@manyhands/session-log';
import { denied } from '../context/context.ts';
import type { JournalEntry } from '../thread/journal.ts';

/** Classifies one call under `auto`. Never rejects. */
export type PermissionClassifier = (name: string, input: Record<string, unknown>) => Promise<ToolEvaluation>;

export interface WantedCall {
  entry: JournalEntry;
  /** The client has to say something before the call goes on. */
  waitsFor: CallWait | null;
}

type Tools = Parameters<typeof enabledTools>[0];

/** `invalidInput`: what the model sent in place of a JSON object. */
export async function wantedCall(
  tools: Tools,
  id: string,
  block: Anthropic.ToolUseBlock,
  invalidInput: string | undefined,
  classify: PermissionClassifier,
): Promise<WantedCall> {
  const { name } = block;
  const input = block.input as Record<string, unknown>;
  const refused = (refusal: string): WantedCall => ({
    entry: { id, body: { type: 'agent.tool_use', name, input, evaluated_permission: 'deny' }, hidden: { refusal } },
    waitsFor: null,
  });
  const badInput = `The input of ${name} was not a JSON object: ${invalidInput}`;
  if (customTools(tools).some((tool) => tool.name === name)) {
    // No client is asked to run what is no call.
    if (invalidInput !== undefined) return refused(badInput);
    return { entry: { id, body: { type: 'agent.custom_tool_use', name, input } }, waitsFor: 'custom' };
  }
  const builtin = (BUILTIN_TOOLS as readonly string[]).includes(name) ? (name as BuiltinTool) : null;
  if (builtin === null) return refused(`There is no tool named ${JSON.stringify(name)}.`);
  if (!enabledTools(tools).has(builtin)) return refused(denied(name));
  const policy = permissionPolicy(tools, builtin).type;
  // Nobody need look at a call that cannot run.
  if (invalidInput !== undefined && policy !== 'always_allow') return refused(badInput);
  const evaluation = policy === 'auto' ? await classify(name, input) : { type: policy };
  const evaluated_permission = permissionOf(evaluation);
  const refusal = invalidInput !== undefined ? badInput : evaluated_permission === 'deny' ? denied(name) : null;
  return {
    entry: {
      id,
      body: { type: 'agent.tool_use', name, input, evaluated_permission, evaluation },
      ...(refusal === null ? {} : { hidden: { refusal } }),
    },
    waitsFor: evaluated_permission === 'ask' ? 'ask' : null,
  };
}

function permissionOf(evaluation: ToolEvaluation): 'allow' | 'ask' | 'deny' {
  if (evaluation.type === 'auto') return evaluation.evaluated_permission.type;
  return evaluation.type === 'always_ask' ? 'ask' : 'allow';
}
