package holdfast

// RWLock is a lock that many may read under, or one may write under.
type RWLock struct {
	// Read is held together with other readers.
	Read *Lock
	// Write is held alone.
	Write *Lock
}

// RWLock is the reader/writer lock of this name. Readers and writers have their turns in the order in
// which they came: a stream of readers does not keep a writer waiting for ever.
func (c *Client) RWLock(name string, options ...AcquireOption) *RWLock {
	return &RWLock{
		Read:  c.Lock(name, append(options[:len(options):len(options)], Shared())...),
		Write: c.Lock(name, options...),
	}
}

// Semaphore is a lock that at most n hold at a time, 1 to 1,000,000.
func (c *Client) Semaphore(name string, n int, options ...AcquireOption) *Lock {
	return c.Lock(name, append(options[:len(options):len(options)], MaxShared(n))...)
}
