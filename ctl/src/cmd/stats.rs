//! `stats`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_proto::gantry::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::attach::term;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::{Format, row, short_id, units};
use crate::out;
use crate::template::{Struct, Value};

const TITLES: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
/// How often the screen is drawn, and how often new containers are looked for.
const DRAW: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_secs(2);
/// A container that gives no second sample within this is shown with what there is.
const SAMPLE: Duration = Duration::from_secs(5);

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let format = Format::parse(parsed.text("format"), TABLE);
    format.render(TITLES, &[])?;
    let short = !parsed.on("no-trunc");
    let wanted = wanted(&daemon, &parsed).await?;
    if parsed.on("no-stream") {
        let rows = once(&daemon, &wanted, short).await?;
        out::put(format.render(TITLES, &rows)?);
        return Ok(0);
    }
    live(&daemon, &parsed, wanted, &format, short).await.map(|()| 0)
}

/// A container to watch: its place in the table, and how the user called it.
type Wanted = Vec<(String, String)>;

async fn wanted(daemon: &Daemon, parsed: &Parsed) -> Result<Wanted> {
    if parsed.args.is_empty() {
        let request = pb::ListContainersRequest {
            all: parsed.on("all"),
            ..Default::default()
        };
        let answer = daemon.take(daemon.containers().list(request).await)?;
        return Ok(answer
            .containers
            .into_iter()
            .map(|it| (it.id.clone(), short_id(&it.id)))
            .collect());
    }
    // A wrong name is said before anything is shown.
    let mut wanted = Vec::new();
    for name in &parsed.args {
        let request = pb::InspectContainerRequest {
            container: name.clone(),
            size: false,
        };
        let answer = daemon.take(daemon.containers().inspect(request).await)?;
        wanted.push((answer.container.unwrap_or_default().id, name.clone()));
    }
    Ok(wanted)
}

/// Two samples of each, so that there is a difference to show.
async fn once(daemon: &Daemon, wanted: &Wanted, short: bool) -> Result<Vec<Value>> {
    let all = wanted.iter().map(|(id, called)| async move {
        let request = pb::StatsRequest {
            container: id.clone(),
            stream: true,
        };
        let mut samples = daemon.take(daemon.containers().stats(request).await)?;
        let mut last = (None, None);
        let deadline = Instant::now() + SAMPLE;
        while let Ok(sample) = tokio::time::timeout_at(deadline, samples.message()).await {
            let Some(sample) = sample.map_err(|status| daemon.error(status))? else {
                break;
            };
            let done = last.1.is_some() || sample.stopped;
            last = (last.1.take(), Some(sample));
            if done {
                break;
            }
        }
        let none = pb::StatsSample {
            id: id.clone(),
            stopped: true,
            ..Default::default()
        };
        Ok::<_, Error>(line(called, last.0.as_ref(), &last.1.unwrap_or(none), short))
    });
    let mut rows = Vec::new();
    for done in futures::future::join_all(all).await {
        match done {
            Ok(row) => rows.push(row),
            // It went away between the listing and the question.
            Err(err) if err.is_not_found() => {}
            Err(err) => return Err(err),
        }
    }
    Ok(rows)
}

/// Rows by the order in which containers were found.
type Rows = Arc<Mutex<BTreeMap<usize, (String, Value)>>>;

async fn live(daemon: &Daemon, parsed: &Parsed, wanted: Wanted, format: &Format, short: bool) -> Result<()> {
    let rows: Rows = Arc::default();
    let mut tasks = JoinSet::new();
    let mut next = 0;
    let mut known: Vec<String> = Vec::new();
    let follow =
        |tasks: &mut JoinSet<()>, known: &mut Vec<String>, next: &mut usize, (id, called): (String, String)| {
            known.push(id.clone());
            tasks.spawn(watch(daemon.clone(), rows.clone(), *next, id, called, short));
            *next += 1;
        };
    for one in wanted {
        follow(&mut tasks, &mut known, &mut next, one);
    }
    let mut draw = interval(DRAW);
    draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    let clear = term::stdout_is_terminal();
    loop {
        draw.tick().await;
        if looked.elapsed() >= LOOK && parsed.args.is_empty() {
            looked = Instant::now();
            if let Ok(Ok(found)) = timeout(LOOK, self::wanted(daemon, parsed)).await {
                let shown = rows
                    .lock()
                    .map(|rows| rows.values().map(|(id, _)| id.clone()).collect::<Vec<_>>())
                    .unwrap_or_default();
                known.retain(|id| shown.contains(id) || found.iter().any(|(other, _)| other == id));
                for one in found {
                    if !known.contains(&one.0) {
                        follow(&mut tasks, &mut known, &mut next, one);
                    }
                }
            }
        }
        let shown: Vec<Value> = rows
            .lock()
            .map(|rows| rows.values().map(|(_, row)| row.clone()).collect())
            .unwrap_or_default();
        let text = format.render(TITLES, &shown)?;
        if clear {
            // Each line is cleared behind its end, then the screen below.
            out::put(format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")));
        } else {
            out::put(text);
        }
        while tasks.try_join_next().is_some() {}
        if tasks.is_empty() && !parsed.args.is_empty() {
            return Ok(());
        }
    }
}

/// Keeps a container's row fresh until it is gone.
async fn watch(daemon: Daemon, rows: Rows, at: usize, id: String, called: String, short: bool) {
    let put = |row: Value| {
        if let Ok(mut rows) = rows.lock() {
            rows.insert(at, (id.clone(), row));
        }
    };
    let request = pb::StatsRequest {
        container: id.clone(),
        stream: true,
    };
    if let Ok(answer) = daemon.containers().stats(request).await {
        let mut samples = answer.into_inner();
        let mut before: Option<pb::StatsSample> = None;
        while let Ok(Some(sample)) = samples.message().await {
            put(line(&called, before.as_ref(), &sample, short));
            before = Some(sample);
        }
    }
    if let Ok(mut rows) = rows.lock() {
        rows.remove(&at);
    }
}

fn line(called: &str, before: Option<&pb::StatsSample>, it: &pb::StatsSample, short: bool) -> Value {
    let bytes = |bytes: u64| units::human_size(bytes as f64, 3);
    let used = it.memory_usage;
    let percent = |part: f64| format!("{part:.2}%");
    let memory = if it.memory_limit == 0 {
        0.0
    } else {
        used as f64 / it.memory_limit as f64 * 100.0
    };
    let (cpu, memory, usage, pids) = match it.stopped {
        true => ("--".to_owned(), "--".to_owned(), "-- / --".to_owned(), "--".to_owned()),
        false => (
            percent(cpu(before, it)),
            percent(memory),
            format!(
                "{} / {}",
                units::bytes_size(used as f64),
                units::bytes_size(it.memory_limit as f64)
            ),
            it.pids.to_string(),
        ),
    };
    let pair = |a: u64, b: u64| {
        if it.stopped {
            "--".to_owned()
        } else {
            format!("{} / {}", bytes(a), bytes(b))
        }
    };
    row(Struct::new("*formatter.statsContext")
        .with("Container", called)
        .with("Name", if it.name.is_empty() { "--" } else { &it.name })
        .with("ID", if short { short_id(&it.id) } else { it.id.clone() })
        .with("CPUPerc", cpu)
        .with("MemUsage", usage)
        .with("MemPerc", memory)
        .with("NetIO", pair(it.network_rx, it.network_tx))
        .with("BlockIO", pair(it.block_read, it.block_write))
        .with("PIDs", pids))
}

/// Percent of one CPU.
fn cpu(before: Option<&pb::StatsSample>, it: &pb::StatsSample) -> f64 {
    let Some(before) = before else { return 0.0 };
    let own = it.cpu_total.saturating_sub(before.cpu_total) as f64;
    let whole = it.system_cpu.saturating_sub(before.system_cpu) as f64;
    if whole <= 0.0 {
        0.0
    } else {
        own / whole * f64::from(it.online_cpus.max(1)) * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_docker_s() {
        let before = pb::StatsSample {
            cpu_total: 100,
            system_cpu: 1000,
            ..Default::default()
        };
        let it = pb::StatsSample {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            cpu_total: 200,
            system_cpu: 2000,
            online_cpus: 2,
            memory_usage: 1 << 20,
            memory_limit: 4 << 20,
            pids: 3,
            block_read: 1500,
            ..Default::default()
        };
        let text = Format::parse(None, TABLE)
            .render(TITLES, &[line("web", Some(&before), &it, true)])
            .unwrap();
        assert_eq!(
            text,
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O    PIDS\n\
             0123456789ab   web       20.00%    1MiB / 4MiB         25.00%    0B / 0B   1.5kB / 0B   3\n"
        );
        let gone = pb::StatsSample { stopped: true, ..it };
        let text = Format::parse(Some("{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"), TABLE)
            .render(TITLES, &[line("w", None, &gone, true)]);
        assert_eq!(text.unwrap(), "-- -- / -- --\n");
    }
}
