package holdfast

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// What can go wrong, for errors.Is. Where the server said so, errors.As with *Error tells the rest.
var (
	// ErrHeld means that the lock can't be had at once.
	ErrHeld = errors.New("holdfast: the lock is held")
	// ErrWaitTimedOut means that the wait was over before the turn came.
	ErrWaitTimedOut = errors.New("holdfast: the turn did not come in time")
	// ErrLost means that a grant, a lease or a turn ended without its holder's doing, or may have: what
	// it protected has to stop.
	ErrLost = errors.New("holdfast: lost")
	// ErrReleased is the cause of a grant's cancelled context after a release.
	ErrReleased = errors.New("holdfast: released")
	// ErrNotHolder means that the token proves no current grant.
	ErrNotHolder = errors.New("holdfast: not the holder")
	// ErrLimit means that the server has no room for one more.
	ErrLimit = errors.New("holdfast: a limit is reached")
	// ErrUnavailable means that the server could not be reached, or could not answer, for as long as
	// the call was retried. What a changing call did is unknown.
	ErrUnavailable = errors.New("holdfast: the server is unavailable")
	// ErrUnauthenticated means that the API token is missing or unknown.
	ErrUnauthenticated = errors.New("holdfast: the API token is missing or unknown")
	// ErrPermissionDenied means that the API token's role does not allow the call.
	ErrPermissionDenied = errors.New("holdfast: not allowed to this API token")
	// ErrInvalid means that an argument is out of its bounds; Error.Field names it.
	ErrInvalid = errors.New("holdfast: invalid argument")
	// ErrNotFound means that there is no such value, FIFO or ticket.
	ErrNotFound = errors.New("holdfast: not found")
	// ErrExists means that there is a FIFO with this id already.
	ErrExists = errors.New("holdfast: exists already")
	// ErrConflict means that the value has another revision than was expected.
	ErrConflict = errors.New("holdfast: the value was changed meanwhile")
	// ErrTicketLapsed means that the ticket was not accepted or not done in time.
	ErrTicketLapsed = errors.New("holdfast: the ticket has lapsed")
	// ErrTicketEnded means that somebody else completed or cancelled the ticket.
	ErrTicketEnded = errors.New("holdfast: the ticket was ended by somebody else")
	// ErrDeliveryEnded means that the item was not acknowledged in time, or was dealt with before.
	ErrDeliveryEnded = errors.New("holdfast: the delivery has ended")
	// ErrEmpty means that the queue had no item in time.
	ErrEmpty = errors.New("holdfast: the queue is empty")
	// ErrClosed means that the client was closed.
	ErrClosed = errors.New("holdfast: the client is closed")
)

// kinds says which error a server's reason is.
var kinds = map[string]error{
	"LOCK_HELD":           ErrHeld,
	"WAIT_TIMED_OUT":      ErrWaitTimedOut,
	"TURN_TIMED_OUT":      ErrWaitTimedOut,
	"NOT_HOLDER":          ErrNotHolder,
	"LEASE_EXPIRED":       ErrLost,
	"LEASE_NOT_FOUND":     ErrLost,
	"LIMIT_REACHED":       ErrLimit,
	"STORAGE_FULL":        ErrLimit,
	"OVERLOADED":          ErrUnavailable,
	"UNAVAILABLE":         ErrUnavailable,
	"STOPPING":            ErrUnavailable,
	"UNAUTHENTICATED":     ErrUnauthenticated,
	"PERMISSION_DENIED":   ErrPermissionDenied,
	"LOCK_NOT_FOUND":      ErrNotFound,
	"VALUE_NOT_FOUND":     ErrNotFound,
	"FIFO_NOT_FOUND":      ErrNotFound,
	"TICKET_NOT_FOUND":    ErrNotFound,
	"FIFO_EXISTS":         ErrExists,
	"REVISION_MISMATCH":   ErrConflict,
	"TICKET_LAPSED":       ErrTicketLapsed,
	"TICKET_ENDED":        ErrTicketEnded,
	"DELIVERY_ENDED":      ErrDeliveryEnded,
	"INVALID_ARGUMENT":    ErrInvalid,
	"REQUEST_ID_REUSED":   ErrInvalid,
	"TICKET_NOT_ACCEPTED": ErrInvalid,
}

// kindsByCode is for statuses that carry no reason, such as those of proxies and of this side.
var kindsByCode = map[codes.Code]error{
	codes.Unavailable:      ErrUnavailable,
	codes.Unauthenticated:  ErrUnauthenticated,
	codes.PermissionDenied: ErrPermissionDenied,
	codes.InvalidArgument:  ErrInvalid,
}

// Error is what the server said of a call that failed. errors.Is tells its kind, such as ErrHeld.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is the stable word for what went wrong, such as LOCK_HELD; empty: the server gave none.
	Reason string
	// Message is for people to read.
	Message string
	// Field names the argument that was at fault; empty: none was.
	Field string
	// RetryAfter is when to try again at the earliest; 0: trying again as it is does not help.
	RetryAfter time.Duration
	// Metadata is what else the server told, such as the holder's owner or the current revision.
	Metadata map[string]string
}

// Error says what went wrong.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("holdfast: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("holdfast: %s: %s", e.Reason, e.Message)
}

// Is tells whether the error is of this kind.
func (e *Error) Is(kind error) bool {
	if known, ok := kinds[e.Reason]; ok {
		return known == kind
	}
	return kindsByCode[e.Code] == kind
}

// retryable tells whether the same call may be sent again and may then succeed.
func (e *Error) retryable() bool {
	return e.Is(ErrUnavailable)
}

// LossError says how a grant, a lease or a turn was lost. errors.Is tells ErrLost of it.
type LossError struct {
	// What was lost, such as the lock's name.
	What string
	// Cause is how: EXPIRED, REVOKED, FORCED, RELEASED or CALLBACK where the server said so, and
	// UNCONFIRMED where no renewal was confirmed in time.
	Cause string
}

// unconfirmed is a loss by the client's own reckoning.
const unconfirmed = "UNCONFIRMED"

// Error says what was lost, and how.
func (e *LossError) Error() string {
	return fmt.Sprintf("holdfast: lost %s: %s", e.What, e.Cause)
}

// Is tells whether the target is ErrLost.
func (e *LossError) Is(kind error) bool {
	return kind == ErrLost
}

// callError reads the failure of one call of a session.
func callError(e *pb.CallError) *Error {
	return &Error{
		Code:       codes.Code(e.GetCode()),
		Reason:     e.GetReason(),
		Message:    e.GetMessage(),
		Field:      e.GetField(),
		RetryAfter: e.GetRetryAfter().AsDuration(),
	}
}

// rpcError reads a failure of gRPC; nil stays nil. What ctx ended is told as the end of ctx.
func rpcError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	read := readStatus(err)
	if ctx.Err() != nil && (read.Reason == "" || read.Reason == "DEADLINE_EXCEEDED") {
		return ended(ctx)
	}
	return read
}

func readStatus(err error) *Error {
	s := status.Convert(err)
	read := &Error{Code: s.Code(), Message: s.Message()}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			read.Reason = detail.GetReason()
			read.Metadata = detail.GetMetadata()
			read.Field = read.Metadata["field"]
		case *errdetails.RetryInfo:
			read.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	// A connection that this side replaced, or that broke in the middle of an answer.
	if read.Reason == "" && (read.Code == codes.Canceled || read.Code == codes.Unknown ||
		read.Code == codes.Internal || read.Code == codes.DeadlineExceeded) {
		read.Code = codes.Unavailable
	}
	return read
}

// ended is the error of a call whose context has ended: both its error and its cause.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, errPatience) {
		return cause
	}
	if errors.Is(cause, err) {
		return fmt.Errorf("holdfast: %w", cause)
	}
	return fmt.Errorf("holdfast: %w: %w", err, cause)
}
