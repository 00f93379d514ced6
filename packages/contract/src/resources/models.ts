/** Models as GET /v1/models lists them (CONTRACT 2.11). */
export interface ModelInfo {
  type: 'model';
  id: string;
  display_name: string;
  created_at: string;
  lifecycle: 'active';
  line: null;
  max_input_tokens: number | null;
  max_tokens: number | null;
  deprecated_at: null;
  retires_at: null;
  allowed_fallback_models: null;
  capabilities: null;
}
