export { Client, type ConnectOptions, connect } from "./client.js";
export { type ErrorKind, HoldfastError, type Loss, LostError } from "./errors.js";
export { Fifo, type FifoOptions, type Place, Ticket } from "./fifo.js";
export { Grant } from "./grant.js";
export {
  type AcquireOptions,
  type Holder,
  Lock,
  type LockChangeKind,
  type LockNews,
  type LockState,
} from "./lock.js";
export { type PutOptions, type Stored, Value } from "./value.js";
