//! The file of `flowmon run --config`: what it says takes the place of the defaults, so that what was
//! typed goes over the environment, that over the file, and the file over what is the case without it.

use std::{
    any::TypeId,
    collections::BTreeMap,
    error::Error as _,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, builder::PossibleValue,
    parser::ValueSource,
};

use super::{Cli, Command};
use crate::{
    config::{self, Section, Setting},
    policy::{Place, Problem, yaml},
};

/// Every setting of the daemon: where it stands in the file, and its option.
const SECTIONS: [Section; 6] = [
    (
        "watch",
        &[
            ("interfaces", "iface"),
            ("interval", "interval"),
            ("max_flows", "max-flows"),
            ("hook", "hook"),
            ("xdp", "xdp"),
        ],
    ),
    (
        "policies",
        &[
            ("paths", "policies"),
            ("ip_block_pods", "ip-block-pods"),
            ("own_node", "own-node"),
        ],
    ),
    (
        "identity",
        &[
            ("inventory", "inventory"),
            ("cni_results", "cni-results"),
            ("cri_sockets", "cri-socket"),
            ("docker_socket", "docker-socket"),
            ("podman_socket", "podman-socket"),
            ("kubernetes", "kubernetes"),
            ("kubeconfig", "kubeconfig"),
            ("node_name", "node-name"),
        ],
    ),
    (
        "metrics",
        &[
            ("listen", "listen"),
            ("web_config", "web-config"),
            ("max_series", "max-series"),
            ("label_port", "label-port"),
        ],
    ),
    (
        "log",
        &[
            ("file", "log"),
            ("records", "log-records"),
            ("namespaces", "log-namespace"),
            ("endpoints", "log-endpoint"),
            ("verdicts", "log-verdict"),
            ("max_size", "log-max-size"),
            ("max_age", "log-max-age"),
            ("keep", "log-keep"),
        ],
    ),
    (
        "diagnostics",
        &[("format", "log-format"), ("filter", "log-filter")],
    ),
];

/// The command whose settings they are.
const COMMAND: &str = "run";

/// The file can't be used.
#[derive(Debug)]
pub struct Refused {
    /// What was typed, without the file.
    pub typed: Cli,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
}

/// What a file says, ready to be used.
struct Ready {
    command: clap::Command,
    /// Where each option is set, if it is.
    places: BTreeMap<&'static str, Place>,
}

impl Cli {
    /// What was typed, over what the file of `run --config` says, which `read` gives with its name. Wrong
    /// usage ends the process, as does a question for help.
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        read: impl FnOnce(&Path) -> Result<(Arc<str>, String), Problem>,
    ) -> Result<Self, Box<Refused>> {
        let args: Vec<OsString> = args.into_iter().collect();
        let plain = || Ready {
            command: Self::command(),
            places: BTreeMap::new(),
        };
        // What is missing may be in the file.
        let mut lenient = plain();
        lenient.command = lenient
            .command
            .mut_subcommand(COMMAND, |run| run.mut_args(|arg| arg.required(false)));
        let ready = match lenient.parse(&args) {
            Ok(typed) => match typed.config() {
                Some(path) => match Ready::with(path, read(path)) {
                    Ok(ready) => ready,
                    Err(problems) => return Err(Box::new(Refused { typed, problems })),
                },
                None => plain(),
            },
            Err(_) => plain(),
        };
        Ok(ready.parse(&args).unwrap_or_else(|error| error.exit()))
    }

    fn config(&self) -> Option<&Path> {
        match &self.command {
            Command::Run(args) => args.config.as_deref(),
            _ => None,
        }
    }
}

impl Ready {
    /// With what the file says for defaults.
    fn with(path: &Path, read: Result<(Arc<str>, String), Problem>) -> Result<Self, Vec<Problem>> {
        let (file, text) = read.map_err(|problem| vec![problem])?;
        let plain = Cli::command();
        let judge =
            |setting: &Setting| option(&plain, setting.option).map(|arg| judge(arg, setting));
        let judge = |setting: &Setting| judge(setting).unwrap_or_default();
        let settings = config::read(&file, &text, &SECTIONS, judge)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut command = plain.clone();
        for setting in &settings {
            let Some(arg) = option(&plain, setting.option) else {
                continue; // a test has it that there are none
            };
            let values = values(arg, setting, folder);
            let default = |arg: Arg| {
                let is_missing = arg.is_required_set() && values.is_empty();
                arg.default_values(values).required(is_missing)
            };
            let id = arg.get_id();
            let is_of_all = plain.get_arguments().any(|arg| arg.get_id() == id);
            command = if is_of_all {
                command.mut_arg(id, default)
            } else {
                command.mut_subcommand(COMMAND, |run| run.mut_arg(id, default))
            };
        }
        let places = settings.into_iter();
        let places = places.map(|setting| (setting.option, setting.place));
        let places = places.collect();
        Ok(Self { command, places })
    }

    fn parse(&self, args: &[OsString]) -> Result<Cli, clap::Error> {
        let mut command = self.command.clone();
        let matches = command.try_get_matches_from_mut(args)?;
        let cli = Cli::from_arg_matches(&matches);
        let mut cli = cli.map_err(|error| error.format(&mut command))?;
        if let Command::Run(args) = &mut cli.command
            && let Some(matches) = matches.subcommand_matches(COMMAND)
        {
            args.effective = self.effective(matches);
        }
        Ok(cli)
    }

    /// All settings as a file, and where each comes from.
    fn effective(&self, matches: &ArgMatches) -> String {
        let mut text = String::new();
        for (section, keys) in SECTIONS {
            text.extend([section, ":\n"]);
            for (key, name) in keys {
                let Some(arg) = option(&self.command, name) else {
                    continue;
                };
                let id = arg.get_id().as_str();
                let raw = matches.try_get_raw(id).ok().flatten();
                let values: Vec<String> = raw
                    .into_iter()
                    .flatten()
                    .map(|value| written(&value.to_string_lossy()))
                    .collect();
                let values = if is_list(arg) {
                    format!("[{}]", values.join(", "))
                } else {
                    values.concat()
                };
                let origin = match matches.value_source(id) {
                    Some(ValueSource::CommandLine) => format!("--{name}"),
                    Some(ValueSource::EnvVariable) => {
                        let variable = arg.get_env().unwrap_or_default();
                        variable.to_string_lossy().into_owned()
                    }
                    Some(_) | None => match self.places.get(name) {
                        Some(place) => place.to_string(),
                        None => "default".to_owned(),
                    },
                };
                let origin = yaml::comment(&origin);
                text.extend(["  ", key, ": ", &values, " ", &origin, "\n"]);
            }
        }
        text
    }
}

/// The option of the daemon with this name: its own, or one of all commands.
fn option<'c>(command: &'c clap::Command, name: &str) -> Option<&'c Arg> {
    let run = command.find_subcommand(COMMAND);
    let own = run.into_iter().flat_map(clap::Command::get_arguments);
    let mut all = own.chain(command.get_arguments());
    all.find(|arg| arg.get_long() == Some(name))
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The values of a setting as they would be typed; relative paths begin at the file's folder.
fn values(arg: &Arg, setting: &Setting, folder: &Path) -> Vec<String> {
    let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let value = |(value, _): &(String, Place)| match value.as_str() {
        path if is_path && path != "-" => folder.join(path).to_string_lossy().into_owned(),
        value => value.to_owned(),
    };
    setting.values.iter().map(value).collect()
}

/// What would not be taken, were it typed.
fn judge(arg: &Arg, setting: &Setting) -> Vec<(Place, String)> {
    let what = &setting.place.path;
    if setting.is_list && !is_list(arg) {
        let says = format!("`{what}` takes one value, this is a list");
        return vec![(setting.place.clone(), says)];
    }
    let wrong = setting.values.iter().filter_map(|(value, place)| {
        let says = refusal(arg, value)?;
        let takes = arg.get_value_names().unwrap_or_default().join(" ");
        let says = format!("`{what}` takes {takes}, not `{value}`: {says}");
        Some((place.clone(), says))
    });
    wrong.collect()
}

/// Why this would not be taken, if it would not.
fn refusal(arg: &Arg, value: &str) -> Option<String> {
    if let Some(delimiter) = arg.get_value_delimiter().filter(|it| value.contains(*it)) {
        return Some(format!("`{delimiter}` separates values; make it a list"));
    }
    let alone = Arg::new("value").value_parser(arg.get_value_parser().clone());
    let alone = clap::Command::new(COMMAND).arg(alone);
    let error = alone.try_get_matches_from([COMMAND, "--", value]).err()?;
    let possible = arg.get_possible_values();
    let possible: Vec<&str> = possible.iter().map(PossibleValue::get_name).collect();
    Some(match error.source() {
        Some(source) => source.to_string(),
        None if possible.is_empty() => "it may not be empty".to_owned(),
        None => format!("expected {}", possible.join(", ")),
    })
}

/// As it is written in the file: a string only where it could be taken for something else.
fn written(value: &str) -> String {
    let is_word = |char: char| char.is_ascii_alphanumeric() || "-_./:".contains(char);
    let is_exponent = |char| "eExX_".contains(char);
    let is_plain = value.chars().all(is_word)
        && match value.chars().next() {
            Some('/') => true,
            Some('0') => value.len() == 1,
            Some('1'..='9') => !value.contains(is_exponent),
            _ => ["true", "false"].contains(&value),
        };
    if is_plain {
        value.to_owned()
    } else {
        yaml::text(value).render().trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::collections::BTreeSet;

    use super::*;

    /// What is no setting: what the process is to do, and by which file.
    const NO_SETTINGS: [&str; 3] = ["config", "check-config", "verbose"];

    /// The settings by these options and a file of this text, or what is said about it.
    fn read(args: &[&str], text: &str) -> Result<String, Vec<String>> {
        let always = ["flowmon", "run", "--config", "etc/flowmon.yaml"];
        let args = always.iter().chain(args).map(OsString::from);
        let read = |_: &Path| Ok(("flowmon.yaml".into(), text.to_owned()));
        match Cli::read(args, read) {
            Ok(Cli {
                command: Command::Run(args),
                ..
            }) => Ok(args.effective),
            Ok(other) => Err(vec![format!("{other:?}")]),
            Err(refused) => {
                let says = |it: &Problem| format!("{}: {}", it.place, it.message);
                Err(refused.problems.iter().map(says).collect())
            }
        }
    }

    #[test]
    fn every_option_of_the_daemon_is_a_setting() {
        let command = Cli::command();
        let run = command.find_subcommand(COMMAND).unwrap();
        let all = run.get_arguments().chain(command.get_arguments());
        let options: BTreeSet<&str> = all
            .filter_map(Arg::get_long)
            .filter(|name| !NO_SETTINGS.contains(name))
            .collect();
        let settings = SECTIONS.iter().flat_map(|(_, keys)| keys.iter());
        let settings: Vec<&str> = settings.map(|(_, option)| *option).collect();
        let once: BTreeSet<&str> = settings.iter().copied().collect();
        assert_eq!(
            options, once,
            "left: options of `run`; right: SECTIONS, which deploy/flowmon.yaml documents"
        );
        assert_eq!(settings.len(), once.len(), "each once");
    }

    #[test]
    fn what_is_typed_goes_over_the_file_and_the_file_over_the_default() {
        let text = "watch: {interfaces: [cni0, 'veth*'], interval: 2s}\nmetrics: {label_port: yes}";
        let settings = read(&["--interval", "3s", "--label-port=false"], text).unwrap();
        for line in [
            "interfaces: [cni0, \"veth*\"] # flowmon.yaml:1:21",
            "interval: 3s # --interval",
            "hook: auto # default",
            "label_port: false # --label-port",
        ] {
            let line = format!("  {line}\n");
            assert!(settings.contains(&line), "{line}{settings}");
        }
        let settings = read(&["--iface", "eth0"], text).unwrap();
        for line in [
            "interfaces: [eth0] # --iface",
            "interval: 2s # flowmon.yaml:1:48",
            "label_port: true # flowmon.yaml:2:23",
        ] {
            let line = format!("  {line}\n");
            assert!(settings.contains(&line), "{line}{settings}");
        }
    }

    #[test]
    fn the_settings_are_a_file_of_the_same_settings() {
        let args = [
            "--iface=12,0x1f,1e3,0120,veth*,eth0.5",
            "--log=/var/log/0x1",
            "--log-filter=flowmon=debug,h2=info",
            "--xdp=off",
        ];
        let typed = read(&args, "watch: {}").unwrap();
        let values = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| line.split(" # ").next().unwrap());
            lines.map(str::to_owned).collect()
        };
        assert_eq!(values(&read(&[], &typed).unwrap()), values(&typed));
    }

    #[test]
    fn paths_begin_at_the_files_folder_and_an_empty_list_is_none() {
        let text = "watch: {interfaces: all}\nlog: {file: flows.jsonl}\n\
            policies: {paths: [a, /b]}\nidentity: {cri_sockets: [], docker_socket: }";
        let settings = read(&[], text).unwrap();
        for value in [
            "file: etc/flows.jsonl #",
            "paths: [etc/a, /b] #",
            "cri_sockets: [] # flowmon.yaml:4:25",
            "docker_socket: /run/docker.sock # default",
        ] {
            assert!(settings.contains(value), "{value} {settings}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let text = "\
watch:
  interfaces: [all, 'veth[']
  intervall: 1s
  interval: 5
  xdp: sideways
  max_flows: [64]
log: {keep: 2, keep: 3}
policies: nonsense
identity: {inventory: ['a,b']}
audit: {}
";
        assert_eq!(
            read(&[], text).unwrap_err(),
            [
                "flowmon.yaml:2:21: `watch.interfaces` takes IFACE, not `veth[`: unclosed character \
                 class; missing ']'",
                "flowmon.yaml:3:3: unknown field `intervall`; known here: interfaces, interval, \
                 max_flows, hook, xdp",
                "flowmon.yaml:4:13: `watch.interval` takes DURATION, not `5`: expected a duration of \
                 10ms or more, like 500ms, 5s or 2m",
                "flowmon.yaml:5:8: `watch.xdp` takes XDP, not `sideways`: expected off, skb, native",
                "flowmon.yaml:6:14: `watch.max_flows` takes one value, this is a list",
                "flowmon.yaml:7:16: `keep` is there already",
                "flowmon.yaml:8:11: expected an object, this is a string",
                "flowmon.yaml:9:24: `identity.inventory` takes PATH, not `a,b`: `,` separates values; \
                 make it a list",
                "flowmon.yaml:10:1: unknown field `audit`; known here: watch, policies, identity, \
                 metrics, log, diagnostics",
            ]
        );
    }
}
