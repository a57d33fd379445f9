//! `gantry`: the command tool.
//!
//! It turns Docker's command grammar into calls of the gantry.v1 API and shows what comes back as Docker shows it. It never
//! decides what a container is or keeps state of its own. The bytes of an attached container do not pass through the daemon: the tool
//! talks to the container's shim, so a running `gantry run` outlives a restart of gantryd.
//!
//! The one flow: argv -> `cli` (flags and arguments, by tables) -> a function of `cmd` -> gRPC -> `format`, `inspect` or
//! `attach` -> exit code.

mod attach;
mod cli;
mod client;
mod cmd;
mod copy;
mod error;
mod format;
mod opts;
mod out;
mod progress;
mod template;
mod trace;

use std::process::exit;

use cli::Outcome;

fn main() {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let host = std::env::var("GANTRY_HOST").ok().filter(|host| !host.is_empty());
    let code = match cli::parse(&args, host, attach::term::width()) {
        Outcome::Print(text) => {
            out::put(text);
            0
        }
        Outcome::Fail(text, code) => {
            out::warn(text);
            code
        }
        Outcome::Run {
            verb,
            parsed,
            host,
            level,
        } => {
            trace::install(level);
            run(verb, parsed, &host)
        }
    };
    attach::term::restore();
    exit(code);
}

fn run(verb: &'static cli::verb::Verb, parsed: cli::verb::Parsed, host: &str) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            out::warn(format!("gantry: start: {err}"));
            return 125;
        }
    };
    let done = runtime.block_on(async move {
        let daemon = client::Daemon::new(host)?;
        (verb.run)(daemon, parsed).await
    });
    // Threads that read stdin cannot be joined: main leaves by exit.
    std::mem::forget(runtime);
    match done {
        Ok(code) => code,
        Err(err) => {
            attach::term::restore();
            out::warn(err);
            1
        }
    }
}
