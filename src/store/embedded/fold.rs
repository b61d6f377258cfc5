//! The background thread of a shard: it folds full files of the log into the state, and keeps an
//! empty file at hand for when the log needs the next one.
//!
//! It must never hold up a commit, so it shares no lock with one except the empty file's, and works
//! in small pieces. It may be stopped between any two of them: what is half folded is folded again.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::Tuning;
use super::disk::{REST_MAX, Volume};
use super::replay::Replay;
use super::segment::{self, Position, Segment};
use super::state::{Folded, State};
use crate::store::StoreError;

/// How many full files may wait to be folded. Beyond that commits wait for the fold, because every
/// file that waits costs disk, and time and memory when the shard is loaded.
const WAITING_MAX: usize = 16;

/// What the thread works on.
pub(super) struct Job {
    pub(super) volume: Arc<Volume>,
    pub(super) directory: PathBuf,
    pub(super) tuning: Tuning,
    pub(super) state: State,
    /// Full files left from before, oldest first.
    pub(super) waiting: VecDeque<Segment>,
    /// An empty file made before, if there is one.
    pub(super) spare: Option<Segment>,
    /// The number of the next file that is made.
    pub(super) next_number: u64,
}

/// The handle to the thread. Dropping it stops the thread and waits for it.
pub(super) struct Folder {
    full: Option<SyncSender<Segment>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    volume: Arc<Volume>,
    directory: PathBuf,
    tuning: Tuning,
    spare: Mutex<Spare>,
    failure: Mutex<Option<StoreError>>,
    stop: AtomicBool,
}

struct Spare {
    next_number: u64,
    ready: Option<Segment>,
}

impl Folder {
    pub(super) fn start(job: Job) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            volume: job.volume,
            directory: job.directory,
            tuning: job.tuning,
            spare: Mutex::new(Spare {
                next_number: job.next_number,
                ready: job.spare,
            }),
            failure: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let (full, arriving) = sync_channel(WAITING_MAX);
        let worker = Worker {
            shared: Arc::clone(&shared),
            state: Some(job.state),
            waiting: job.waiting,
            no_room: false,
        };
        let thread = thread::Builder::new()
            .name("holdfast-fold".to_owned())
            .spawn(move || worker.run(&arriving))
            .map_err(|error| StoreError::from_io(&shared.directory, error))?;
        Ok(Self {
            full: Some(full),
            shared,
            thread: Some(thread),
        })
    }

    /// Why the thread has stopped, if it has.
    pub(super) fn failure(&self) -> Option<StoreError> {
        if !self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return None;
        }
        let known = lock(&self.shared.failure).take();
        Some(known.unwrap_or_else(|| {
            let error = io::Error::other("the thread that folds the log has ended");
            StoreError::from_io(&self.shared.directory, error)
        }))
    }

    /// The next file of the log, empty and durable under its name.
    pub(super) fn next_segment(&self) -> Result<Segment, StoreError> {
        let mut spare = lock(&self.shared.spare);
        if let Some(segment) = spare.ready.take() {
            return Ok(segment);
        }
        // The thread was not quick enough. Writing zeros would take longer than they save now.
        let shared = &self.shared;
        let segment = Segment::create(&shared.volume, &shared.directory, spare.next_number)?;
        spare.next_number += 1;
        Ok(segment)
    }

    /// Hands a full file over.
    pub(super) fn fold(&self, segment: Segment) {
        if let Some(full) = &self.full {
            // A thread that is gone has left its error behind, for the next commit to find.
            let _gone = full.send(segment);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.full = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    /// Makes an empty file if there is none.
    fn make_spare(&self) -> Result<(), StoreError> {
        if lock(&self.spare).ready.is_some() {
            self.volume.set_full(false);
            return Ok(());
        }
        let blank = Segment::blank(&self.directory)?;
        blank.write_zeros(&self.volume, self.tuning.zeros_bytes, || self.stopping())?;
        if self.stopping() {
            // With fewer zeros it would promise room that it does not have.
            return segment::remove_blank(&self.directory);
        }
        // Only now is the lock held, for as long as it takes to name the file: a commit may be
        // waiting behind it.
        let mut spare = lock(&self.spare);
        let number = spare.next_number;
        spare.ready = Some(Segment::create_from(
            blank,
            &self.volume,
            &self.directory,
            number,
        )?);
        spare.next_number += 1;
        self.volume.set_full(false);
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

struct Worker {
    shared: Arc<Shared>,
    /// None after the disk was full, until it is opened again.
    state: Option<State>,
    waiting: VecDeque<Segment>,
    /// There was none for an empty file. It is looked for again after a rest, and when the log has
    /// gone on to its next file; folding on meanwhile makes room.
    no_room: bool,
}

impl Worker {
    fn run(mut self, arriving: &Receiver<Segment>) {
        while !self.shared.stopping() {
            let rest = match self.work(arriving) {
                Ok(()) => self.no_room.then_some(self.shared.tuning.full_rest),
                // Nothing is lost by waiting for room: the log still has it all.
                Err(StoreError::Full { .. }) => Some(self.shared.tuning.full_rest),
                Err(error) => {
                    *lock(&self.shared.failure) = Some(error);
                    return;
                }
            };
            let arrived = match rest {
                Some(rest) => arriving.recv_timeout(rest),
                None => arriving.recv().map_err(RecvTimeoutError::from),
            };
            match arrived {
                Ok(segment) => self.waiting.push_back(segment),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does what there is to do.
    fn work(&mut self, arriving: &Receiver<Segment>) -> Result<(), StoreError> {
        self.no_room = false;
        self.keep_a_spare()?;
        while !self.shared.stopping()
            && let Some(mut segment) = self.waiting.pop_front()
        {
            match self.fold(&mut segment, arriving) {
                Ok(true) => segment.remove()?,
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.waiting.push_front(segment);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn keep_a_spare(&mut self) -> Result<(), StoreError> {
        if self.no_room {
            return Ok(());
        }
        match self.shared.make_spare() {
            Err(StoreError::Full { .. }) => {
                self.no_room = true;
                self.shared.volume.set_full(true);
                segment::remove_blank(&self.shared.directory)
            }
            made => made,
        }
    }

    /// Folds a file of the log. `false` if it was told to stop before the end.
    fn fold(
        &mut self,
        segment: &mut Segment,
        arriving: &Receiver<Segment>,
    ) -> Result<bool, StoreError> {
        let state = match self.state.take() {
            Some(state) => state,
            None => State::open(&self.shared.volume, &self.shared.directory)?,
        };
        let before: Position = state.folded()?.position;
        let mut replay = Replay::with_capacity(segment.bytes());
        let position = segment.read(before, &mut replay)?;
        replay.finish_file();
        let piece_len = self.shared.tuning.fold_piece_writes;
        let pieces = replay.len().div_ceil(piece_len).max(1);
        let mut writes = replay.writes();
        for piece in 1..=pieces {
            if self.waiting.is_empty() {
                self.waiting.extend(arriving.try_recv());
            }
            if self.shared.stopping() {
                return Ok(false);
            }
            let folded = (piece == pieces).then_some(Folded {
                segment: segment.number(),
                position,
            });
            let start = Instant::now();
            state.apply(writes.by_ref().take(piece_len), folded)?;
            // While the fold keeps up, half the time belongs to the commits, whose syncs stand
            // behind those of this thread.
            if self.waiting.is_empty() {
                thread::sleep(start.elapsed().min(REST_MAX));
            }
            self.keep_a_spare()?;
        }
        // After an error it is left out: a database that could not write takes no more, and a new
        // one may.
        self.state = Some(state);
        Ok(true)
    }
}

/// Whoever panicked with one of these locks held has left nothing half done behind it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
