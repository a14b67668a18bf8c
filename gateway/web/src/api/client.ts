import createClient, { type Middleware } from 'openapi-fetch';
import { queryString } from '../lib/urls';
import type { components, paths } from './schema';

export type Schema = components['schemas'];

/** What the hub answered when it refused; its message is written for people. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly traceId: string;

  constructor(status: number, problem: Partial<Schema['Problem']>) {
    super(problem.message || `The server answered with status ${String(status)}.`);
    this.status = status;
    this.reason = problem.reason ?? '';
    this.traceId = problem.traceId ?? '';
  }
}

async function refusal(response: Response): Promise<ApiError> {
  let problem: Partial<Schema['Problem']> = {};
  try {
    problem = (await response.json()) as Partial<Schema['Problem']>;
  } catch {
    // A proxy in between may answer without problem JSON; the status has to do.
  }
  return new ApiError(response.status, problem);
}

const refusalsAreErrors: Middleware = {
  async onResponse({ response }) {
    if (!response.ok) throw await refusal(response);
  },
};

export const api = createClient<paths>({
  baseUrl: '/',
  // Every parameter of this API is one text or number, and an empty one means "not given".
  querySerializer: (parameters) =>
    queryString(parameters as Record<string, string | number | undefined>).slice(1),
});
api.use(refusalsAreErrors);

/** The body of an answer; openapi-fetch cannot know that refusals throw. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data } = await answer;
  if (data === undefined) throw new ApiError(0, { message: 'The server sent an empty answer.' });
  return data;
}
