/** The error envelope and its status codes: one table (CONTRACT 5.1, 5.2). */
export const ERROR_STATUS = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  conflict_error: 409,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
} as const;
export type WireErrorType = keyof typeof ERROR_STATUS;

export interface WireErrorBody {
  type: 'error';
  error: { type: WireErrorType; message: string; details?: { error_code: string; [key: string]: unknown } };
  request_id: string | null;
}
