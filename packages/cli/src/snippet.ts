/**
 * The program a new user pastes: the unmodified official SDK with another base URL. `up` prints it with its own address and key, README.md
 * shows it, and a test runs it.
 */
export interface SnippetValues {
  url: string;
  apiKey: string;
  model: string;
}

export function snippet({ url, apiKey, model }: SnippetValues): string {
  return `import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({
  baseURL: ${quote(url)},
  apiKey: ${quote(apiKey)},
});

const agent = await client.beta.agents.create({
  name: 'explorer',
  model: ${quote(model)},
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({ name: 'sandbox' });
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });

// First the stream, then the message: nothing is missed.
const stream = await client.beta.sessions.events.stream(session.id, { event_deltas: ['agent.message'] });
await client.beta.sessions.events.send(session.id, {
  events: [
    {
      type: 'user.message',
      content: [{ type: 'text', text: 'Look at what is in your workspace, write a small program, run it, and tell me what it printed.' }],
    },
  ],
});

const streamed = new Set();
for await (const event of stream) {
  if (event.type === 'event_delta') {
    streamed.add(event.event_id);
    process.stdout.write(event.delta.content.text);
  } else if (event.type === 'agent.message') {
    console.log(streamed.has(event.id) ? '' : event.content.map((block) => block.text).join(''));
  } else if (event.type === 'agent.tool_use') {
    console.log(\`[\${event.name}] \${JSON.stringify(event.input).slice(0, 200)}\`);
  } else if (event.type === 'agent.tool_result') {
    console.log(\`  -> \${JSON.stringify(event.content.map((block) => block.text ?? \`[\${block.type}]\`).join('').slice(0, 200))}\`);
  } else if (event.type === 'session.error') {
    console.error(event.error.message);
  } else if (event.type === 'session.status_idle' && event.stop_reason.type !== 'requires_action') {
    console.log(\`session.status_idle / \${event.stop_reason.type}\`);
    break;
  }
}
`;
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
