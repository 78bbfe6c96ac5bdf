//! `flowmon man`

use std::{fs, io, path::Path};

use clap_mangen::Man;

use super::{Exit, Failure, print};
use crate::cli;

pub(super) fn run(command: Option<&str>, into: Option<&Path>) -> Result<Exit, Failure> {
    match into {
        Some(folder) => write_all(folder).map_err(|error| {
            Failure::new(Exit::Usage, format_args!("{}: {error}", folder.display()))
        })?,
        None => print(&page(command)?)?,
    }
    Ok(Exit::Done)
}

fn page(command: Option<&str>) -> Result<String, Failure> {
    let mut everything = cli::everything().disable_help_subcommand(true);
    everything.build();
    let wanted = match command {
        None => everything,
        Some(name) => {
            let found = everything.find_subcommand(name).cloned();
            let found = found.filter(|found| !found.is_hide_set());
            let unknown = || {
                let message = format_args!("flowmon has no command {name}; see `flowmon --help`");
                Failure::new(Exit::Usage, message)
            };
            let found = found.ok_or_else(unknown)?;
            let title = format!("flowmon-{name}");
            found.display_name(title)
        }
    };
    let mut page = Vec::new();
    Man::new(wanted)
        .render(&mut page)
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn write_all(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::everything(), folder)
}
