/** The address of a model endpoint, as configured. */
import { AppError } from '@manyhands/base';

/** Checks it and takes trailing slashes off. `name` says where it was configured; the address itself is not repeated, it might hold a secret. */
export function checkedBaseUrl(baseUrl: string, name: string): string {
  let url: URL;
  try {
    url = new URL(baseUrl);
  } catch {
    throw new AppError('configuration', `${name} is no URL; give one like https://api.anthropic.com`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new AppError('configuration', `${name} must start with http:// or https://, not ${url.protocol}//`);
  if (url.username !== '' || url.password !== '')
    throw new AppError('configuration', `${name} must not hold a user name or password; give the key by its own setting`);
  return baseUrl.replace(/\/+$/, '');
}
