//! stub, being written
use super::*;
/// Times of one application.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Core time.
    pub now: Time,
    /// Wall clock.
    pub wall: WallTime,
}
/// A durable change.
#[derive(Clone, Debug)]
pub struct Change;
/// What one application gives.
#[derive(Debug, Default)]
pub struct Out {
    /// To commit.
    pub changes: Vec<Change>,
    /// To tell afterwards.
    pub effects: Vec<Effect>,
}
/// The state of a shard.
#[derive(Debug, Default)]
pub struct State;
impl State {
    /// Applies one command.
    pub fn apply(&mut self, _context: Context, _request: Request, _out: &mut Out) {}
    /// Handles deadlines that have passed, some at a time.
    pub fn tick(&mut self, _context: Context, _out: &mut Out) {}
    /// When to call tick next.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }
    /// The time of the last application.
    pub fn now(&self) -> Time {
        Time::ZERO
    }
}
/// stub
#[derive(Debug, Default)]
pub struct Loader;
impl Loader {
    /// stub
    pub fn record(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), std::io::Error> {
        Ok(())
    }
    /// stub
    pub fn finish(self) -> Result<State, std::io::Error> {
        Ok(State)
    }
}
impl State {
    /// stub
    pub fn loader() -> Loader {
        Loader
    }
    /// stub
    pub fn mark_clock(&mut self, _out: &mut Out) -> bool {
        false
    }
}
