// A page that shows a lock live: who holds it, where this tab stands in line, and each hand-over.
// ?server=http://127.0.0.1:4653&lock=deploy&owner=ann&token=... say which lock, and who asks.
import { connect, type Grant, LostError } from "../src/index.js";

const query = new URLSearchParams(location.search);
const owner = query.get("owner") ?? `tab ${Math.floor(Math.random() * 1_000)}`;
const ttl = query.get("ttl");
const token = query.get("token");
const client = connect({
  address: query.get("server") ?? "http://127.0.0.1:4653",
  owner,
  ...(token && { token }),
  ...(ttl && { ttl: Number(ttl) }),
});
const lock = client.lock(query.get("lock") ?? "deploy");

const element = (id: string): HTMLElement => {
  const found = document.getElementById(id);
  if (!found) {
    throw new Error(`the page has no #${id}`);
  }
  return found;
};
const take = element("take") as HTMLButtonElement;
const give = element("give") as HTMLButtonElement;
element("lock").textContent = lock.name;
element("owner").textContent = owner;

type Place = "none" | "waiting" | "held" | "lost" | "failed";

/** Shows where this tab stands, and which buttons make sense there. */
function show(place: Place, text: string): void {
  element("place").textContent = text;
  element("place").dataset.state = place;
  take.disabled = place === "waiting" || place === "held";
  give.disabled = !take.disabled;
  give.textContent = place === "waiting" ? "Leave the line" : "Give it back";
}

function note(text: string): void {
  const line = document.createElement("li");
  line.textContent = `${new Date().toLocaleTimeString()}: ${text}`;
  element("history").prepend(line);
}

/** Takes the lock and keeps it until it is given back or lost. */
async function takeAndKeep(): Promise<void> {
  const leave = new AbortController();
  give.onclick = () => leave.abort();
  show("waiting", "asking");
  let grant: Grant;
  try {
    grant = await lock.acquire({
      signal: leave.signal,
      onPosition: (position) => show("waiting", `number ${position} in line`),
    });
  } catch (error) {
    show(leave.signal.aborted ? "none" : "failed", leave.signal.aborted ? "not in line" : `${error}`);
    return;
  }
  show("held", `I hold it, with fencing token ${grant.fencingToken}`);
  const given = new Promise<void>((resolve) => {
    give.onclick = () => resolve();
  });
  await Promise.race([given, grant.lost]);
  try {
    await grant.release();
    show("none", "not in line");
  } catch (error) {
    show(error instanceof LostError ? "lost" : "failed", `${error}`);
  }
}

/** Shows who holds the lock, and each hand-over, for as long as the page is open. */
async function follow(): Promise<void> {
  for await (const { state, change } of lock.watch()) {
    const names = state.holders.map((holder) => holder.owner || "somebody");
    element("holders").textContent = names.join(", ") || "nobody";
    if (change) {
      note(`${change.kind}: ${change.holder.owner || "somebody"}`);
    }
  }
}

take.onclick = () => void takeAndKeep();
show("none", "not in line");
follow().catch((error: unknown) => {
  element("holders").textContent = `unknown: ${error}`;
});
