/**
 * Every endpoint that managed agents have in the official SDK, by id. `coverage.test.ts` compares the list with the SDK, both ways. Nothing here
 * says what is built: that follows from the promises that cite an id.
 */
export interface EndpointGroup {
  name: string;
  /** What an endpoint without a promise waits for. */
  feature: string;
  endpoints: Readonly<Record<string, string>>;
}

export const ENDPOINT_GROUPS: readonly EndpointGroup[] = [
  {
    name: 'agents',
    feature: 'agents',
    endpoints: {
      'AG-1': 'POST /v1/agents',
      'AG-2': 'GET /v1/agents/{agent_id}',
      'AG-3': 'POST /v1/agents/{agent_id}',
      'AG-4': 'GET /v1/agents',
      'AG-5': 'POST /v1/agents/{agent_id}/archive',
      'AG-6': 'GET /v1/agents/{agent_id}/versions',
    },
  },
  {
    name: 'environments',
    feature: 'environments',
    endpoints: {
      'EN-1': 'POST /v1/environments',
      'EN-2': 'GET /v1/environments/{environment_id}',
      'EN-3': 'POST /v1/environments/{environment_id}',
      'EN-4': 'GET /v1/environments',
      'EN-5': 'DELETE /v1/environments/{environment_id}',
      'EN-6': 'POST /v1/environments/{environment_id}/archive',
    },
  },
  {
    name: 'the work queue of self-hosted environments',
    feature: 'self-hosted environments',
    endpoints: {
      'WK-1': 'GET /v1/environments/{environment_id}/work/{work_id}',
      'WK-2': 'POST /v1/environments/{environment_id}/work/{work_id}',
      'WK-3': 'GET /v1/environments/{environment_id}/work',
      'WK-4': 'POST /v1/environments/{environment_id}/work/{work_id}/ack',
      'WK-5': 'POST /v1/environments/{environment_id}/work/{work_id}/heartbeat',
      'WK-6': 'GET /v1/environments/{environment_id}/work/poll',
      'WK-7': 'GET /v1/environments/{environment_id}/work/stats',
      'WK-8': 'POST /v1/environments/{environment_id}/work/{work_id}/stop',
    },
  },
  {
    name: 'sessions',
    feature: 'sessions',
    endpoints: {
      'SE-1': 'POST /v1/sessions',
      'SE-2': 'GET /v1/sessions/{session_id}',
      'SE-3': 'POST /v1/sessions/{session_id}',
      'SE-4': 'GET /v1/sessions',
      'SE-5': 'DELETE /v1/sessions/{session_id}',
      'SE-6': 'POST /v1/sessions/{session_id}/archive',
    },
  },
  {
    name: 'events of sessions',
    feature: 'events',
    endpoints: {
      'EV-1': 'GET /v1/sessions/{session_id}/events',
      'EV-2': 'POST /v1/sessions/{session_id}/events',
      'EV-3': 'GET /v1/sessions/{session_id}/events/stream',
    },
  },
  {
    name: 'resources of sessions',
    feature: 'session resources',
    endpoints: {
      'RS-1': 'GET /v1/sessions/{session_id}/resources/{resource_id}',
      'RS-2': 'POST /v1/sessions/{session_id}/resources/{resource_id}',
      'RS-3': 'GET /v1/sessions/{session_id}/resources',
      'RS-4': 'DELETE /v1/sessions/{session_id}/resources/{resource_id}',
      'RS-5': 'POST /v1/sessions/{session_id}/resources',
    },
  },
  {
    name: 'threads of sessions',
    feature: 'threads',
    endpoints: {
      'TH-1': 'GET /v1/sessions/{session_id}/threads/{thread_id}',
      'TH-2': 'GET /v1/sessions/{session_id}/threads',
      'TH-3': 'POST /v1/sessions/{session_id}/threads/{thread_id}/archive',
      'TE-1': 'GET /v1/sessions/{session_id}/threads/{thread_id}/events',
      'TE-2': 'GET /v1/sessions/{session_id}/threads/{thread_id}/stream',
    },
  },
  {
    name: 'vaults',
    feature: 'vaults',
    endpoints: {
      'VA-1': 'POST /v1/vaults',
      'VA-2': 'GET /v1/vaults/{vault_id}',
      'VA-3': 'POST /v1/vaults/{vault_id}',
      'VA-4': 'GET /v1/vaults',
      'VA-5': 'DELETE /v1/vaults/{vault_id}',
      'VA-6': 'POST /v1/vaults/{vault_id}/archive',
      'CR-1': 'POST /v1/vaults/{vault_id}/credentials',
      'CR-2': 'GET /v1/vaults/{vault_id}/credentials/{credential_id}',
      'CR-3': 'POST /v1/vaults/{vault_id}/credentials/{credential_id}',
      'CR-4': 'GET /v1/vaults/{vault_id}/credentials',
      'CR-5': 'DELETE /v1/vaults/{vault_id}/credentials/{credential_id}',
      'CR-6': 'POST /v1/vaults/{vault_id}/credentials/{credential_id}/archive',
      'CR-7': 'POST /v1/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate',
    },
  },
  {
    name: 'memory stores',
    feature: 'memory stores',
    endpoints: {
      'MS-1': 'POST /v1/memory_stores',
      'MS-2': 'GET /v1/memory_stores/{memory_store_id}',
      'MS-3': 'POST /v1/memory_stores/{memory_store_id}',
      'MS-4': 'GET /v1/memory_stores',
      'MS-5': 'DELETE /v1/memory_stores/{memory_store_id}',
      'MS-6': 'POST /v1/memory_stores/{memory_store_id}/archive',
      'ME-1': 'POST /v1/memory_stores/{memory_store_id}/memories',
      'ME-2': 'GET /v1/memory_stores/{memory_store_id}/memories/{memory_id}',
      'ME-3': 'POST /v1/memory_stores/{memory_store_id}/memories/{memory_id}',
      'ME-4': 'GET /v1/memory_stores/{memory_store_id}/memories',
      'ME-5': 'DELETE /v1/memory_stores/{memory_store_id}/memories/{memory_id}',
      'MV-1': 'GET /v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}',
      'MV-2': 'GET /v1/memory_stores/{memory_store_id}/memory_versions',
      'MV-3': 'POST /v1/memory_stores/{memory_store_id}/memory_versions/{memory_version_id}/redact',
    },
  },
  {
    name: 'deployments',
    feature: 'deployments',
    endpoints: {
      'DE-1': 'POST /v1/deployments',
      'DE-2': 'GET /v1/deployments/{deployment_id}',
      'DE-3': 'POST /v1/deployments/{deployment_id}',
      'DE-4': 'GET /v1/deployments',
      'DE-5': 'POST /v1/deployments/{deployment_id}/archive',
      'DE-6': 'POST /v1/deployments/{deployment_id}/pause',
      'DE-7': 'POST /v1/deployments/{deployment_id}/run',
      'DE-8': 'POST /v1/deployments/{deployment_id}/unpause',
      'DR-1': 'GET /v1/deployment_runs/{deployment_run_id}',
      'DR-2': 'GET /v1/deployment_runs',
    },
  },
  {
    name: 'dreams',
    feature: 'dreams',
    endpoints: {
      'DM-1': 'POST /v1/dreams',
      'DM-2': 'GET /v1/dreams/{dream_id}',
      'DM-3': 'GET /v1/dreams',
      'DM-4': 'POST /v1/dreams/{dream_id}/archive',
      'DM-5': 'POST /v1/dreams/{dream_id}/cancel',
    },
  },
  {
    name: 'files',
    feature: 'files',
    endpoints: {
      'FI-1': 'GET /v1/files',
      'FI-2': 'DELETE /v1/files/{file_id}',
      'FI-3': 'GET /v1/files/{file_id}/content',
      'FI-4': 'GET /v1/files/{file_id}',
      'FI-5': 'POST /v1/files',
    },
  },
  {
    name: 'skills',
    feature: 'skills',
    endpoints: {
      'SK-1': 'POST /v1/skills',
      'SK-2': 'GET /v1/skills/{skill_id}',
      'SK-3': 'GET /v1/skills',
      'SK-4': 'DELETE /v1/skills/{skill_id}',
      'SV-1': 'POST /v1/skills/{skill_id}/versions',
      'SV-2': 'GET /v1/skills/{skill_id}/versions/{version}',
      'SV-3': 'GET /v1/skills/{skill_id}/versions',
      'SV-4': 'DELETE /v1/skills/{skill_id}/versions/{version}',
      'SV-5': 'GET /v1/skills/{skill_id}/versions/{version}/content',
    },
  },
  {
    name: 'tunnels',
    feature: 'MCP tunnels',
    endpoints: {
      'TU-1': 'POST /v1/tunnels',
      'TU-2': 'GET /v1/tunnels/{tunnel_id}',
      'TU-3': 'GET /v1/tunnels',
      'TU-4': 'POST /v1/tunnels/{tunnel_id}/archive',
      'TU-5': 'POST /v1/tunnels/{tunnel_id}/reveal_token',
      'TU-6': 'POST /v1/tunnels/{tunnel_id}/rotate_token',
      'TC-1': 'POST /v1/tunnels/{tunnel_id}/certificates',
      'TC-2': 'GET /v1/tunnels/{tunnel_id}/certificates/{certificate_id}',
      'TC-3': 'GET /v1/tunnels/{tunnel_id}/certificates',
      'TC-4': 'POST /v1/tunnels/{tunnel_id}/certificates/{certificate_id}/archive',
    },
  },
  {
    name: 'user profiles',
    feature: 'user profiles',
    endpoints: {
      'UP-1': 'POST /v1/user_profiles',
      'UP-2': 'GET /v1/user_profiles/{user_profile_id}',
      'UP-3': 'POST /v1/user_profiles/{user_profile_id}',
      'UP-4': 'GET /v1/user_profiles',
      'UP-5': 'DELETE /v1/user_profiles/{user_profile_id}',
      'UP-6': 'POST /v1/user_profiles/{user_profile_id}/enrollment_url',
      'UA-1': 'POST /v1/user_profiles/{user_profile_id}/action_urls',
    },
  },
  {
    name: 'models',
    feature: 'models',
    endpoints: {
      'MO-1': 'GET /v1/models/{model_id}',
      'MO-2': 'GET /v1/models',
    },
  },
];

export interface Endpoint {
  id: string;
  method: string;
  /** `/v1/agents/{agent_id}` */
  path: string;
  group: EndpointGroup;
}

export const ENDPOINTS: readonly Endpoint[] = ENDPOINT_GROUPS.flatMap((group) =>
  Object.entries(group.endpoints).map(([id, line]) => {
    const [method = '', path = ''] = line.split(' ');
    return { id, method, path, group };
  }),
);

/** The path with ids in it that nothing has: `/v1/agents/agent_x`. */
export function samplePath({ path }: Endpoint): string {
  return path.replaceAll(/\{(\w+?)(_id)?\}/g, '$1_x');
}

/** Endpoints that answer, but with a 400 whatever is asked, until a feature is there. The conformance run fails if one of them does more. */
export const ALWAYS_REFUSED: Readonly<Record<string, string>> = {
  'RS-2': 'git repositories',
  'TH-3': 'multi-agent sessions',
};
