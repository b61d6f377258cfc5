// Package holdfast is the client of Holdfast, a server for locks, leases, lines, queues and values.
//
//	client, err := holdfast.Dial(ctx, "127.0.0.1:4653")
//	if err != nil { ... }
//	defer client.Close()
//	err = client.Lock("deploy").Do(ctx, func(ctx context.Context, g *holdfast.Grant) error {
//		return deploy(ctx, g.FencingToken())
//	})
//
// One connection carries everything. What a client holds hangs on one lease, which it renews over one
// stream; a broken connection is made anew, and the lease, the holds and the places in line are taken
// up where they stood. Every changing call carries an id of its own, and is sent again when its answer
// did not come: it has one outcome, however often it was sent.
//
// Every call is bounded by its context; where that has no deadline, calls that are to be answered at
// once are tried for the time of WithPatience, and waits in line have no end.
package holdfast
