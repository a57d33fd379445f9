//! Flags as data: what each is called, what it takes, and how its value is checked. clap parses from these, help and the
//! machine-readable listing are printed from them.

use clap::{Arg, ArgAction};

use crate::format::units;
use crate::opts;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` and `=false`. The value it has when not given.
    Bool(bool),
    Text,
    Int,
    Bytes,
    /// Bytes, or -1.
    Swap,
    Cpus,
    Ulimit,
    Stream,
    Label,
    Env,
    List,
    Map,
    Filter,
    /// A network's name, or the long form.
    Network,
    Address,
    Domain,
    ExtraHost,
    Link,
    /// As Go writes it: `1m30s`.
    Duration,
    Mount,
    Restart,
    /// "/dev/sda:1mb".
    DeviceRate,
    /// Known to Docker, not built here: refused by name.
    Unbuilt {
        boolean: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) takes: Takes,
    pub(crate) help: &'static str,
    /// Shown behind the help, as "(default ...)".
    pub(crate) default: &'static str,
    /// Another long name.
    pub(crate) alias: Option<&'static str>,
}

/// A flag without a letter.
pub(crate) const fn long(long: &'static str, takes: Takes, help: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        takes,
        help,
        default: "",
        alias: None,
    }
}

/// A flag with a letter.
pub(crate) const fn flag(name: &'static str, short: char, takes: Takes, help: &'static str) -> Flag {
    Flag {
        short: Some(short),
        ..long(name, takes, help)
    }
}

/// A flag of Docker's that is not built yet.
pub(crate) const fn unbuilt(name: &'static str) -> Flag {
    long(name, Takes::Unbuilt { boolean: false }, "")
}

pub(crate) const fn unbuilt_switch(name: &'static str) -> Flag {
    long(name, Takes::Unbuilt { boolean: true }, "")
}

impl Flag {
    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    pub(crate) const fn alias(self, alias: &'static str) -> Self {
        Self {
            alias: Some(alias),
            ..self
        }
    }

    pub(crate) fn is_unbuilt(&self) -> bool {
        matches!(self.takes, Takes::Unbuilt { .. })
    }

    /// Needs no value.
    pub(crate) fn is_switch(&self) -> bool {
        matches!(self.takes, Takes::Bool(_) | Takes::Unbuilt { boolean: true })
    }

    /// The word for the value in help, as Docker has it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.takes {
            Takes::Bool(_) | Takes::Unbuilt { .. } => "",
            Takes::Text | Takes::Restart => "string",
            Takes::Int => "int",
            Takes::Bytes | Takes::Swap => "bytes",
            Takes::Cpus => "decimal",
            Takes::Ulimit => "ulimit",
            Takes::Filter => "filter",
            Takes::Map => "map",
            Takes::Network => "network",
            Takes::Duration => "duration",
            Takes::Mount => "mount",
            Takes::DeviceRate => "list",
            Takes::Stream | Takes::Label | Takes::Env | Takes::List => "list",
            Takes::Address | Takes::Domain | Takes::ExtraHost | Takes::Link => "list",
        }
    }

    /// "-m, --memory" as errors name it.
    pub(crate) fn title(&self) -> String {
        self.short.map_or_else(
            || format!("--{}", self.long),
            |short| format!("-{short}, --{}", self.long),
        )
    }

    pub(crate) fn arg(&self) -> Arg {
        let mut arg = Arg::new(self.long)
            .long(self.long)
            .action(ArgAction::Append)
            .allow_hyphen_values(true);
        arg = match self.is_switch() {
            true => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            false => arg.num_args(1),
        };
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        if let Some(alias) = self.alias {
            arg = arg.alias(alias);
        }
        arg.hide(self.is_unbuilt())
    }

    /// Why a value will not do, in the words of Docker's flag library.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        let syntax = |what: &str| format!("strconv.{what}: parsing {value:?}: invalid syntax");
        match self.takes {
            Takes::Bool(_) => parse_bool(value).map(drop).ok_or_else(|| syntax("ParseBool")),
            Takes::Int => value.parse::<i64>().map(drop).map_err(|_| syntax("ParseInt")),
            Takes::Bytes => units::ram_in_bytes(value).map(drop),
            Takes::Swap if value == "-1" => Ok(()),
            Takes::Swap => units::ram_in_bytes(value).map(drop),
            Takes::Cpus => opts::nano_cpus(value).map(drop),
            Takes::Ulimit => opts::ulimit(value).map(drop),
            Takes::Stream => opts::stream(value).map(drop),
            Takes::Label => opts::label(value).map(drop),
            Takes::Env => opts::env_name(value),
            Takes::Filter => opts::filter(value).map(drop),
            Takes::Network => opts::network(value),
            Takes::Address => opts::address(value).map(drop),
            Takes::Domain => opts::domain(value).map(drop),
            Takes::ExtraHost => opts::extra_host(value).map(drop),
            Takes::Link => opts::link(value).map(drop),
            Takes::Duration => opts::duration(value).map(drop),
            Takes::Mount => opts::mount(value).map(drop),
            Takes::DeviceRate => opts::device_rate(value).map(drop),
            Takes::Restart => opts::restart(value).map(drop),
            Takes::Text | Takes::List | Takes::Map | Takes::Unbuilt { .. } => Ok(()),
        }
    }
}

/// What Go's strconv.ParseBool takes.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
