//! Names in the kernel that belong to one daemon.

/// Which daemon on this machine: the plain one, or one of the others by eight hex digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    id: Option<String>,
}

impl Instance {
    /// `None` is the daemon on the default exec root.
    pub fn new(id: Option<String>) -> Self {
        Self { id }
    }

    /// The default bridge: `gantry0`, or `gtry-` and the id (15 characters are all a name can have).
    pub fn default_bridge(&self) -> String {
        match &self.id {
            None => "gantry0".to_owned(),
            Some(id) => format!("gtry-{id}"),
        }
    }

    /// The bridge by which containers of overlay networks reach the world: `gantry_gwbridge`, or `gtgw-` and the id.
    pub fn gateway_bridge(&self) -> String {
        match &self.id {
            None => "gantry_gwbridge".to_owned(),
            Some(id) => format!("gtgw-{id}"),
        }
    }

    /// The nftables tables of every family: `gantry`, or `gantry-<id>`.
    pub fn table(&self) -> String {
        match &self.id {
            None => "gantry".to_owned(),
            Some(id) => format!("gantry-{id}"),
        }
    }

    /// Appended to the names of iptables chains; empty for the plain daemon, whose chains bear Docker's names.
    pub fn chain_suffix(&self) -> String {
        self.id.as_ref().map(|id| format!("-{id}")).unwrap_or_default()
    }
}
