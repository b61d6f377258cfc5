import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./stubs/google/rpc/error_details_pb.js";

/** What can go wrong. */
export type ErrorKind =
  /** The lock can't be had at once. */
  | "held"
  /** The wait was over before the turn came. */
  | "waitTimedOut"
  /** A grant or its lease ended without its holder's doing, or may have: see {@link LostError}. */
  | "lost"
  /** The token proves no current grant. */
  | "notHolder"
  /** The server has no room for one more. */
  | "limit"
  /**
   * The server could not be reached, or could not answer, for as long as the call was retried. A page
   * can't tell a server that is down from one that does not list its origin (`--allow-origin`). What a
   * changing call did is unknown.
   */
  | "unavailable"
  /** The API token is missing or unknown. */
  | "unauthenticated"
  /** The API token's role, or the page's origin, does not allow the call. */
  | "permissionDenied"
  /** An argument is out of its bounds; `field` names it. */
  | "invalid"
  /** There is no such value, FIFO or ticket. */
  | "notFound"
  /** There is a FIFO with this id already. */
  | "exists"
  /** The value has another revision than was expected; `metadata.revision` tells which. */
  | "conflict"
  /** The ticket was not accepted or not done in time. */
  | "ticketLapsed"
  /** Somebody else completed or cancelled the ticket. */
  | "ticketEnded"
  /** The server does not know the call. */
  | "unsupported"
  /** The client was closed. */
  | "closed";

const KINDS: Readonly<Record<string, ErrorKind>> = {
  LOCK_HELD: "held",
  WAIT_TIMED_OUT: "waitTimedOut",
  TURN_TIMED_OUT: "waitTimedOut",
  NOT_HOLDER: "notHolder",
  LEASE_EXPIRED: "lost",
  LEASE_NOT_FOUND: "lost",
  LIMIT_REACHED: "limit",
  STORAGE_FULL: "limit",
  OVERLOADED: "unavailable",
  UNAVAILABLE: "unavailable",
  STOPPING: "unavailable",
  // A stream that was cut off because its reader was slow is opened anew.
  SLOW_READER: "unavailable",
  UNAUTHENTICATED: "unauthenticated",
  PERMISSION_DENIED: "permissionDenied",
  LOCK_NOT_FOUND: "notFound",
  VALUE_NOT_FOUND: "notFound",
  FIFO_NOT_FOUND: "notFound",
  TICKET_NOT_FOUND: "notFound",
  FIFO_EXISTS: "exists",
  REVISION_MISMATCH: "conflict",
  TICKET_LAPSED: "ticketLapsed",
  TICKET_ENDED: "ticketEnded",
  INVALID_ARGUMENT: "invalid",
  REQUEST_ID_REUSED: "invalid",
  TICKET_NOT_ACCEPTED: "invalid",
};

/** For statuses without a reason, such as those of proxies. Any other means that no answer came. */
const KINDS_BY_CODE: Partial<Record<Code, ErrorKind>> = {
  [Code.Unauthenticated]: "unauthenticated",
  [Code.PermissionDenied]: "permissionDenied",
  [Code.InvalidArgument]: "invalid",
  [Code.ResourceExhausted]: "limit",
  [Code.NotFound]: "notFound",
  [Code.Unimplemented]: "unsupported",
};

/** What may be known of an error beside its kind and message. */
interface Details {
  reason?: string;
  field?: string;
  retryAfter?: number;
  metadata?: Readonly<Record<string, string>>;
  cause?: unknown;
}

/** A call that failed. */
export class HoldfastError extends Error {
  override readonly name: string = "HoldfastError";
  /** What went wrong. */
  readonly kind: ErrorKind;
  /** The server's stable word for it, such as `LOCK_HELD`; empty: the server gave none. */
  readonly reason: string;
  /** The argument at fault; empty: none was. */
  readonly field: string;
  /** When to try again at the earliest, in milliseconds from then; absent: trying again as it is does not help. */
  readonly retryAfter: number | undefined;
  /** What else the server told, such as the holder's `owner`. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(kind: ErrorKind, message: string, details: Details = {}) {
    super(message, { cause: details.cause });
    this.kind = kind;
    this.reason = details.reason ?? "";
    this.field = details.field ?? "";
    this.retryAfter = details.retryAfter;
    this.metadata = details.metadata ?? {};
  }
}

/** How a grant was lost. */
export type Loss =
  /** No renewal was confirmed in time, by the client's own reckoning. */
  | "unconfirmed"
  /** The server has ended it: it expired, or an administrator ended it. */
  | "ended"
  /** The page was left: the grant was given back. */
  | "left"
  /** The client was closed: the grant was given back. */
  | "closed";

/** A grant that was lost: what the lock protects has to stop. */
export class LostError extends HoldfastError {
  override readonly name = "LostError";
  /** How it was lost. */
  readonly loss: Loss;

  constructor(lock: string, loss: Loss, cause?: unknown) {
    super("lost", `the lock ${JSON.stringify(lock)} is lost: ${loss}`, { cause });
    this.loss = loss;
  }
}

/** What a call threw, as this client's error; what is not of a call stays as it is. */
export function errorOf(thrown: unknown): unknown {
  if (!(thrown instanceof ConnectError)) {
    return thrown;
  }
  const [info] = thrown.findDetails(ErrorInfoSchema);
  const [bad] = thrown.findDetails(BadRequestSchema);
  const [retry] = thrown.findDetails(RetryInfoSchema);
  const reason = info?.reason ?? "";
  const kind = KINDS[reason] ?? KINDS_BY_CODE[thrown.code] ?? "unavailable";
  const prefix = reason || Code[thrown.code];
  return new HoldfastError(kind, `${prefix}: ${thrown.rawMessage}`, {
    reason,
    field: bad?.fieldViolations[0]?.field ?? "",
    ...(retry?.retryDelay && { retryAfter: durationMs(retry.retryDelay) }),
    metadata: info?.metadata ?? {},
    cause: thrown,
  });
}

/** Whether it is an error of this kind. */
export function isKind(thrown: unknown, kind: ErrorKind): thrown is HoldfastError {
  return thrown instanceof HoldfastError && thrown.kind === kind;
}
