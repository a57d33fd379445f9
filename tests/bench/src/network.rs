//! What networks cost: a start on the default bridge over one on the host's, and bytes in a second between containers and through a
//! published port. Each engine has a network namespace of its own, and a neighbour on a wire.

use crate::engine::Engine;
use crate::measure::millis;
use crate::report::{Report, Unit};
use crate::rootfs::IMAGE;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// At most so much more than on the host's network, milliseconds.
const GOAL: f64 = 15.0;
const PORT: &str = "5201";
/// Seconds of one stream.
const STREAM: &str = "2";
const HOUSE: &str = "192.0.2.1";

/// A network namespace for a daemon, and its neighbour's.
pub struct Place {
    name: String,
}

impl Place {
    pub fn new(engine: &str) -> Result<Self> {
        let place = Self {
            name: format!("gb{}-{engine}", std::process::id()),
        };
        let (house, neighbour) = (place.house(), place.neighbour());
        for line in [
            format!("netns add {house}"),
            format!("netns add {neighbour}"),
            format!("-n {house} link set lo up"),
            format!("-n {house} link add out0 type veth peer name out0 netns {neighbour}"),
            format!("-n {house} addr add {HOUSE}/24 dev out0"),
            format!("-n {house} link set out0 up"),
            format!("-n {neighbour} addr add 192.0.2.2/24 dev out0"),
            format!("-n {neighbour} link set out0 up"),
            format!("-n {house} route add default via 192.0.2.2"),
        ] {
            ip(&line)?;
        }
        Ok(place)
    }

    fn house(&self) -> String {
        format!("{}-a", self.name)
    }

    fn neighbour(&self) -> String {
        format!("{}-b", self.name)
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.house())
    }

    fn neighbour_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.neighbour())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in [self.house(), self.neighbour()] {
            if let Err(error) = ip(&format!("netns del {name}")) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output().context("run ip")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {line}: {}", error.trim());
    Ok(())
}

/// Measures the engines, each in its place.
pub fn run(engines: &[Engine], places: &[Place], runs: usize, report: &mut Report) -> Result<()> {
    let costs = starts(engines, runs, report)?;
    let between = streams(engines, places, runs, Way::Between)?;
    report.add("container to container", Unit::Gigabits, &between);
    let published = streams(engines, places, runs, Way::Published)?;
    report.add("through a published port", Unit::Gigabits, &published);
    report.print();
    for (engine, cost) in engines.iter().zip(&costs) {
        println!(
            "{}: a start on the default bridge costs {cost:.2} ms more than on host",
            engine.name
        );
    }
    println!("the goal for gantry is at most {GOAL} ms, and streams not below dockerd's");
    Ok(())
}

/// `run --rm true` on host and on the default bridge, in turn; the medians of what the bridge costs more.
fn starts(engines: &[Engine], runs: usize, report: &mut Report) -> Result<Vec<f64>> {
    let networks = ["host", "bridge"];
    let mut samples = [vec![Vec::new(); engines.len()], vec![Vec::new(); engines.len()]];
    for run in 0..=runs {
        for (network, samples) in networks.iter().zip(&mut samples) {
            for (engine, samples) in engines.iter().zip(samples) {
                let start = Instant::now();
                engine.must(&["run", "--rm", "--network", network, IMAGE, "true"])?;
                // The first of each warms caches and is not counted.
                if run > 0 {
                    samples.push(millis(start.elapsed()));
                }
            }
        }
    }
    let [host, bridge] = samples;
    report.add("run --rm true, network host", Unit::Millis, &host);
    report.add("run --rm true, default bridge", Unit::Millis, &bridge);
    let median = crate::report::median;
    let costs = host.iter().zip(&bridge);
    Ok(costs.map(|(host, bridge)| median(bridge) - median(host)).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Between,
    Published,
}

/// Gigabits in a second of one TCP stream, each engine in its turn.
fn streams(engines: &[Engine], places: &[Place], runs: usize, way: Way) -> Result<Vec<Vec<f64>>> {
    let mut ends = Vec::new();
    for engine in engines {
        let mut server = vec!["run", "-d", "--name", "server"];
        if way == Way::Published {
            server.extend(["-p", "5201:5201"]);
        }
        server.extend([IMAGE, "sleep", "1000000"]);
        engine.must(&server)?;
        engine.must(&["run", "-d", "--name", "client", IMAGE, "sleep", "1000000"])?;
        let key = |name| -> Result<PathBuf> {
            let pid = engine.must(&["inspect", "-f", "{{.State.Pid}}", name])?;
            Ok(PathBuf::from(format!("/proc/{}/ns/net", pid.trim())))
        };
        let address = engine.must(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server"])?;
        ends.push((key("server")?, key("client")?, address.trim().to_owned()));
    }
    let mut samples = vec![Vec::new(); engines.len()];
    for run in 0..=runs.div_ceil(4) {
        for (index, (server, client, address)) in ends.iter().enumerate() {
            let (from, to) = match way {
                Way::Between => (client.clone(), address.as_str()),
                Way::Published => (places[index].neighbour_path(), HOUSE),
            };
            let seen = stream(server, &from, to)?;
            if run > 0 {
                samples[index].push(seen);
            }
        }
    }
    for engine in engines {
        engine.clear()?;
    }
    Ok(samples)
}

fn stream(server: &std::path::Path, from: &std::path::Path, to: &str) -> Result<f64> {
    let inside = |netns: &std::path::Path| {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", netns.display()))
            .arg("iperf3")
            .stdin(Stdio::null());
        command
    };
    let mut listening = inside(server);
    listening.args(["-s", "-p", PORT]).stdout(Stdio::null());
    let _listening = Server(listening.spawn().context("start iperf3")?);
    let start = Instant::now();
    loop {
        let mut asking = inside(from);
        asking.args(["-c", to, "-p", PORT, "-t", STREAM, "-J"]);
        let output = asking.output().context("run iperf3")?;
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).context("what iperf3 prints")?;
        if let Some(bits) = seen["end"]["sum_received"]["bits_per_second"].as_f64() {
            return Ok(bits / 1e9);
        }
        // It may not listen yet.
        ensure!(
            start.elapsed() < Duration::from_secs(10),
            "iperf3 to {to}: {}",
            seen["error"]
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
