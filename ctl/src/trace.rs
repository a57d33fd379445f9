//! What the tool tells of its own doings on stderr: `--debug` and `--log-level`.
//!
//! Below `debug` there is nothing to tell: errors and warnings are the commands' own words and are not a matter of levels.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Error};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The level that a word of Docker's names, in any case.
pub(crate) fn level(word: &str) -> Option<LevelFilter> {
    Some(match word.to_ascii_lowercase().as_str() {
        "panic" | "fatal" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// Begins to tell. `trace` lets the libraries speak too.
pub(crate) fn install(level: LevelFilter) {
    if level < LevelFilter::DEBUG {
        return;
    }
    let targets = match level {
        LevelFilter::TRACE => Targets::new().with_default(level),
        _ => Targets::new().with_target("gantry", level),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}

/// The line to the daemon; tells what is asked on it.
#[derive(Clone)]
pub(crate) struct Line(pub(crate) Channel);

impl Service<http::Request<Body>> for Line {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = request.uri().path().trim_start_matches('/').to_owned();
        tracing::debug!(call, "asking the daemon");
        let (answer, begun) = (Service::call(&mut self.0, request), Instant::now());
        Box::pin(async move {
            let answer = answer.await;
            let took = begun.elapsed();
            match &answer {
                Ok(answer) => match answer.headers().get("grpc-status").filter(|code| *code != "0") {
                    None => tracing::debug!(call, ?took, "the daemon answers"),
                    Some(code) => tracing::debug!(call, ?took, ?code, "the daemon refuses"),
                },
                Err(err) => tracing::debug!(call, ?took, %err, "the daemon does not answer"),
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_docker_s() {
        for word in ["panic", "fatal", "error", "warn", "warning", "info", "DEBUG", "Trace"] {
            assert!(level(word).is_some(), "{word}");
        }
        assert_eq!(level("warning"), level("warn"));
        assert_eq!((level(""), level("bad"), level("1")), (None, None, None));
    }
}
