//! The command line containerd gives a shim: Go's flags (one dash or two, value apart or after `=`) and a verb.

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Start,
    Delete,
    Version,
    Info,
}

/// The command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub verb: Option<Verb>,
    pub namespace: String,
    pub id: String,
    pub address: String,
    pub publish_binary: String,
    pub bundle: String,
    pub socket_dir: String,
    pub debug: bool,
}

impl Args {
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest)) else {
                parsed.verb = Some(match arg.as_str() {
                    "start" => Verb::Start,
                    "delete" => Verb::Delete,
                    other => return Err(format!("unknown verb {other}: start or delete")),
                });
                continue;
            };
            let (name, inline) = flag
                .split_once('=')
                .map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
            match name {
                "v" | "version" => parsed.verb = Some(Verb::Version),
                "info" => parsed.verb = Some(Verb::Info),
                "debug" => parsed.debug = inline.as_deref() != Some("false"),
                _ => {
                    let place = parsed.place(name).ok_or_else(|| format!("unknown flag -{name}"))?;
                    *place = inline
                        .or_else(|| args.next())
                        .ok_or_else(|| format!("flag -{name} needs a value"))?;
                }
            }
        }
        Ok(parsed)
    }

    fn place(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "namespace" => &mut self.namespace,
            "id" => &mut self.id,
            "address" => &mut self.address,
            "publish-binary" => &mut self.publish_binary,
            "bundle" => &mut self.bundle,
            "socket-dir" => &mut self.socket_dir,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn containerds_lines_are_understood() {
        let args =
            parse("-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id abc -debug start")
                .unwrap();
        assert_eq!(
            (args.verb, args.namespace.as_str(), args.id.as_str(), args.debug),
            (Some(Verb::Start), "k8s.io", "abc", true)
        );
        let args = parse("--namespace=x --id=y -bundle /b delete").unwrap();
        assert_eq!(
            (args.verb, args.namespace.as_str(), args.bundle.as_str()),
            (Some(Verb::Delete), "x", "/b")
        );
        assert_eq!(parse("-v").unwrap().verb, Some(Verb::Version));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse("run").is_err());
        assert!(parse("-what x").is_err());
        assert!(parse("-id").is_err());
    }
}
