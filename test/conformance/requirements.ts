export const REQUIREMENTS = { 'smoke': {source:'x', text:'smoke'} } as const;
