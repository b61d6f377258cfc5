//! `holdfast queue push --lines`: an item of each line, many under way at once.

use std::io::{self, BufRead, Read as _};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::calls::optional_span;
use super::views::Done;
use super::*;
use crate::api::Reason;
use crate::core::limits::VALUE_BYTES_MAX;
use crate::proto::v1::produce_response::Outcome;
use crate::proto::v1::{EnqueueRequest, ProduceRequest};

/// How many lines are read ahead of the server.
const LINES_AHEAD_MAX: usize = 256;

/// Sends every line, and prints how many items it came to. The first line that fails ends it.
pub(super) async fn run(client: &Client, output: Output, args: PushArgs) -> Result<(), CliError> {
    let template = EnqueueRequest {
        ttl: optional_span("ttl", args.ttl.as_deref())?,
        queue: args.queue,
        ..Default::default()
    };
    let (requests, inbound) = mpsc::channel(LINES_AHEAD_MAX);
    let (ended, mut lines) = oneshot::channel();
    // A thread of its own: nothing else waits for a line without holding up the answers.
    std::thread::spawn(move || {
        // Told before the stream of requests ends, and so before the last answer.
        let _ = ended.send(send_lines(io::stdin().lock(), &template, &requests));
    });
    let answers = client.queues().produce(ReceiverStream::new(inbound)).await;
    let answers = answers.map_err(|status| client.error(&status))?;
    let mut answers = answers.into_inner();
    let mut enqueued = 0_u64;
    loop {
        let answer = answers.message().await;
        let answer = answer.map_err(|status| with_count(client.error(&status), enqueued))?;
        let Some(answer) = answer else { break };
        match answer.outcome {
            Some(Outcome::Enqueued(_)) => enqueued += 1,
            Some(Outcome::Error(error)) => {
                let error = CliError::from_call(error);
                let error = error.at(&format!("line {}", answer.number));
                return Err(with_count(error, enqueued));
            }
            None => {
                let message = "the server answered an item without saying how";
                return Err(CliError::new(Reason::Internal, message));
            }
        }
    }
    match lines.try_recv() {
        Ok(Ok(sent)) if sent == enqueued => output.answer(&Done("enqueued", enqueued)),
        Ok(Err(error)) => Err(with_count(error, enqueued)),
        Ok(Ok(_)) | Err(_) => {
            let error = CliError::new(Reason::Unavailable, "the server ended the stream");
            Err(with_count(error, enqueued))
        }
    }
}

fn with_count(error: CliError, enqueued: u64) -> CliError {
    error.adding(&format!("; at least {enqueued} items are in line"))
}

/// Sends the lines, numbered from 1, and tells how many there were.
fn send_lines(
    mut input: impl BufRead,
    template: &EnqueueRequest,
    requests: &mpsc::Sender<ProduceRequest>,
) -> Result<u64, CliError> {
    let mut number = 0;
    while let Some(line) = read_line(&mut input).transpose() {
        let line = line.map_err(|error| format!("cannot be read from stdin: {error}"));
        let at = format!("line {}", number + 1);
        let request = ProduceRequest {
            number: number + 1,
            enqueue: Some(EnqueueRequest {
                value: input::value(line).map_err(|error| error.at(&at))?,
                ..template.clone()
            }),
        };
        if requests.blocking_send(request).is_err() {
            // Nobody takes more: the answers say why.
            break;
        }
        number += 1;
    }
    Ok(number)
}

/// The next line without its line break, and little of one that is too long; `None`: there is none.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = VALUE_BYTES_MAX as u64 + 1;
    if input.take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    // A line of exactly the largest size fits, with its break behind it.
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| read_line(&mut input).unwrap()).collect()
    }

    #[test]
    fn a_line_is_what_stands_before_a_line_break_or_the_end() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"a\n\nb\r\n\xff"), [&b"a"[..], b"", b"b\r", b"\xff"]);
        assert_eq!(lines(b"a\n"), [b"a"]);
    }

    #[test]
    fn the_largest_line_fits_and_a_larger_one_is_seen_to_be_too_large() {
        for (length, seen) in [
            (VALUE_BYTES_MAX, VALUE_BYTES_MAX),
            (1 << 20, VALUE_BYTES_MAX + 1),
        ] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            assert_eq!(lines(&text).first().unwrap().len(), seen);
        }
    }
}
