//! The figures that Holdfast is held to, beside bare tonic echoes in the same run.
//!
//! `cargo bench --bench figures` starts `holdfast serve` on its embedded store and an echo server,
//! each a process of its own, drives both from this process, in turn, and prints one table.
//! `-- 1 4` runs only those figures, `-- --rounds 3` fewer rounds of each.

mod attach;
mod client;
mod echo;
mod fifo;
mod memory;
mod process;
mod queue;
mod table;
mod unary;
mod value;

use table::Table;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How a run was asked for.
pub struct Plan {
    /// How often each pair of measurements is taken; the median counts.
    pub rounds: usize,
    figures: Vec<u32>,
}

impl Plan {
    fn read() -> Result<Option<Plan>, Failed> {
        let mut plan = Plan {
            rounds: 5,
            figures: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--echo" => return Ok(None),
                "--rounds" => plan.rounds = args.next().ok_or("--rounds N")?.parse()?,
                number => plan.figures.push(number.parse().map_err(|_| {
                    format!("{number}: expected --rounds N or the numbers of figures")
                })?),
            }
        }
        Ok(Some(plan))
    }

    fn wants(&self, figure: u32) -> bool {
        self.figures.is_empty() || self.figures.contains(&figure)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let Some(plan) = Plan::read()? else {
        return echo::serve().await;
    };
    let mut table = Table::default();
    let echo = process::Echo::start()?;
    if plan.wants(1) {
        unary::distinct_names(&plan, &echo, &mut table).await?;
    }
    if plan.wants(2) {
        attach::durable(&plan, &echo, &mut table).await?;
    }
    if plan.wants(3) {
        attach::renewed(&plan, &echo, &mut table).await?;
    }
    if plan.wants(4) {
        attach::hand_over(&plan, &mut table).await?;
    }
    if plan.wants(5) {
        memory::idle_waiters(&mut table).await?;
    }
    if plan.wants(6) {
        memory::held_locks(&mut table).await?;
    }
    if plan.wants(7) {
        attach::one_caller(&plan, &echo, &mut table).await?;
    }
    if plan.wants(8) {
        fifo::cycle(&plan, &echo, &mut table).await?;
    }
    if plan.wants(9) {
        fifo::hand_over(&plan, &echo, &mut table).await?;
    }
    if plan.wants(10) {
        fifo::long_lines(&mut table).await?;
    }
    if plan.wants(11) {
        queue::unary(&plan, &echo, &mut table).await?;
    }
    if plan.wants(12) {
        queue::streams(&plan, &mut table).await?;
    }
    if plan.wants(13) {
        queue::long_queues(&mut table).await?;
    }
    if plan.wants(14) {
        value::put(&plan, &echo, &mut table).await?;
    }
    if plan.wants(15) {
        client::callers(&plan, &mut table).await?;
    }
    if plan.wants(16) {
        client::kept_alive(&mut table).await?;
    }
    table.print();
    Ok(())
}
