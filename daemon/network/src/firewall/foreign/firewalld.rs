//! firewalld, told over its own D-Bus interface (`org.fedoraproject.FirewallD1.zone`) to trust our bridges.

use super::super::Rules;
use super::super::run::Run;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;

const SERVICE: &str = "org.fedoraproject.FirewallD1";
const OBJECT: &str = "/org/fedoraproject/FirewallD1";
const ZONES: &str = "org.fedoraproject.FirewallD1.zone";
const TRUSTED: &str = "trusted";

#[derive(Debug)]
pub(super) struct Firewalld {
    bus: Option<String>,
    /// Devices that we put into the zone.
    trusted: Mutex<BTreeSet<String>>,
}

impl Firewalld {
    pub fn new(bus: Option<String>) -> Self {
        Self {
            bus,
            trusted: Mutex::default(),
        }
    }

    /// Puts the networks' bridges into the trusted zone, and out of it those that are gone. Whether anything had to be changed.
    pub fn trust(&self, rules: &Rules) -> Result<bool> {
        let wanted: BTreeSet<String> = rules.networks.values().map(|network| network.device.clone()).collect();
        let there = self.interfaces()?;
        let mut ours = self.trusted.lock();
        let mut changed = false;
        for device in wanted.difference(&there) {
            self.call("changeZoneOfInterface", &["ss", TRUSTED, device])?;
            changed = true;
        }
        let gone: Vec<String> = ours.difference(&wanted).cloned().collect();
        for device in gone {
            if there.contains(&device) {
                self.call("removeInterface", &["ss", TRUSTED, &device])?;
                changed = true;
            }
            ours.remove(&device);
        }
        ours.extend(wanted);
        Ok(changed)
    }

    fn interfaces(&self) -> Result<BTreeSet<String>> {
        let printed = self.call("getInterfaces", &["s", TRUSTED])?;
        // `as 2 "br0" "br1"`: names of devices have no quotes or blanks here.
        Ok(printed.split('"').skip(1).step_by(2).map(str::to_owned).collect())
    }

    fn call(&self, method: &str, args: &[&str]) -> Result<String> {
        let bus = self.bus.as_deref().unwrap_or_default();
        let env = [("DBUS_SYSTEM_BUS_ADDRESS", bus)];
        let env = if bus.is_empty() { &[][..] } else { &env[..] };
        let mut all = vec!["--system", "--timeout=10", "call", SERVICE, OBJECT, ZONES, method];
        all.extend(args);
        match Run::new("busctl", &all).env(env).output() {
            // Machines without systemd.
            Err(Error::Program { output, .. }) if output == super::super::run::NOT_INSTALLED => {
                self.by_command(method, args, env)
            }
            other => other,
        }
    }

    fn by_command(&self, method: &str, args: &[&str], env: &[(&str, &str)]) -> Result<String> {
        let deed = match (method, args) {
            ("changeZoneOfInterface", [_, _, device]) => format!("--change-interface={device}"),
            ("removeInterface", [_, _, device]) => format!("--remove-interface={device}"),
            _ => "--list-interfaces".to_owned(),
        };
        let zone = format!("--zone={TRUSTED}");
        let printed = Run::new("firewall-cmd", &[&zone, &deed]).env(env).output()?;
        // In the form that busctl prints.
        Ok(printed.split_whitespace().map(|name| format!("\"{name}\" ")).collect())
    }
}
