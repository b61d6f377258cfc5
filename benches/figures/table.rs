//! Collects results and prints them as one table.

use std::time::Duration;

/// The results so far.
#[derive(Default)]
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// Adds one result, and shows it at once: a run takes minutes.
    pub fn add(&mut self, figure: &str, asked: &str, measured: String, beside: String) {
        eprintln!("{figure}: {measured} (asked: {asked}; {beside})");
        self.0
            .push([figure.to_owned(), asked.to_owned(), measured, beside]);
    }

    /// Prints all results.
    pub fn print(&self) {
        println!("| figure | asked | measured | beside it, in the same run |");
        println!("|---|---|---|---|");
        for row in &self.0 {
            println!("| {} |", row.join(" | "));
        }
    }
}

/// The median; zero of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The value below which this share of all values lies, in microseconds.
pub fn quantile_us(spans: &mut [Duration], share: f64) -> f64 {
    spans.sort();
    let place = (spans.len() as f64 * share) as usize;
    spans
        .get(place.min(spans.len().saturating_sub(1)))
        .map_or(0.0, |span| span.as_secs_f64() * 1e6)
}

/// A rate for people to read.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10_000.0 {
        format!("{:.0} k/s", per_second / 1e3)
    } else {
        format!("{per_second:.0}/s")
    }
}
