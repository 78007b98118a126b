/// <reference lib="dom" />
/** Requests to the API. */

import { encodePath } from "./route.ts";

/** What became of a request. */
export type Answer =
  | { readonly ok: true }
  | { readonly ok: false; readonly status: number; readonly error: string };

/** Shows the server the password; it remembers that by a cookie. */
export async function login(token: string): Promise<Answer> {
  const answer = await request("/api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok || answer.status !== 401) return answer;
  return { ...answer, error: "That is not the password." };
}

/** Makes the server forget it. */
export function logout(): Promise<Answer> {
  return request("/api/logout", { method: "POST" });
}

/** Ends a subscriber. */
export function kick(number: number): Promise<Answer> {
  return request(`/api/subscribers/${number}`, { method: "DELETE" });
}

/** Ends a stream. */
export function endStream(path: string): Promise<Answer> {
  return request(`/api/streams/${encodePath(path)}`, { method: "DELETE" });
}

/** Whether the API is for this page, and if not, why. */
export function checkAccess(): Promise<Answer> {
  return request("/api/server");
}

/** What a GET of `url` is answered with; the body is not waited for. */
export async function request(url: string, init: RequestInit = {}): Promise<Answer> {
  const abort = new AbortController();
  try {
    const response = await fetch(url, { ...init, signal: abort.signal });
    if (response.ok) return { ok: true };
    return { ok: false, status: response.status, error: await reasonOf(response) };
  } catch {
    return { ok: false, status: 0, error: "The server cannot be reached." };
  } finally {
    abort.abort();
  }
}

async function reasonOf(response: Response): Promise<string> {
  const otherwise = `The server answered ${response.status}.`;
  try {
    const { error } = await response.json();
    return typeof error === "string" ? error : otherwise;
  } catch {
    return otherwise;
  }
}
