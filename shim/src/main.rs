//! `containerd-shim-gantry-v1`: owns the processes of a container and their stdio, and outlives whoever drives it.
//!
//! It has one thread for life, so it may fork at any moment: whatever may wait is a forked child's work ([`child`]). It never decodes an OCI
//! spec itself, never executes a second program unless an OCI runtime is named, and keeps little memory while idle.
//!
//! The one flow: [`launch`] forks the [`server`]; [`task`] and [`extras`] turn ttrpc into [`verbs`] on what [`shim`] holds; bytes run
//! through [`io`] to the log and to the clients of [`attach`]; ends come in through [`reaper`], which writes them down before it tells.

mod args;
mod attach;
mod bootstrap;
mod cgroup;
mod child;
mod cleanup;
mod durable;
mod events;
mod extras;
mod failure;
mod foreign;
mod info;
mod io;
mod launch;
mod oom;
mod peer;
mod reaper;
mod sandbox;
mod server;
mod shim;
mod stdio;
mod sys;
mod task;
mod verbs;

use args::{Args, Verb};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if let Some(file) = child::idmap::asked(words.next().as_deref()) {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return match child::idmap::write(file, &words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => complain(&format!("writing {file}: {err}")),
        };
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(text) => return complain(&text),
    };
    let done = match args.verb {
        Some(Verb::Start) => launch::start(&args),
        Some(Verb::Delete) => cleanup::delete(&args),
        Some(Verb::Version) => info::print_version(),
        Some(Verb::Info) => info::print_info(),
        None => return complain("no verb: start or delete"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => complain(&err.to_string()),
    }
}

fn complain(text: &str) -> ExitCode {
    eprintln!("containerd-shim-gantry-v1: {text}");
    ExitCode::FAILURE
}
