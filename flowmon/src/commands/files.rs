//! Files and folders of documents: every YAML and JSON file, in the order of their names.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Exit, Failure};
use crate::{
    policy::{Place, Problem},
    sinks::escaped,
};

/// A file that is longer is no document that somebody wrote; the inventory of 100,000 pods is shorter.
const LONGEST: u64 = 1 << 30;
/// Folders in folders: more is a loop.
const DEEPEST: usize = 32;
/// Folders that are watched: the kernel's limit for a user is 8192 on small machines.
const MOST_FOLDERS: usize = 1024;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Gives `each` every file's name and text, and returns a problem for each file that has none. A file
/// that is named is read whatever it is called; `-` is standard input. Of what is in folders, hidden files
/// and folders are passed over, and scenarios, which stand beside the policies that they test.
pub(super) fn read(
    paths: &[PathBuf],
    each: impl FnMut(&Arc<str>, &str),
) -> Result<Vec<Problem>, Failure> {
    those(|path| !is_scenario(path), paths, each)
}

/// The same of scenarios.
pub(super) fn scenarios(
    paths: &[PathBuf],
    each: impl FnMut(&Arc<str>, &str),
) -> Result<Vec<Problem>, Failure> {
    those(is_scenario, paths, each)
}

/// `shop.scenario.yaml`
fn is_scenario(path: &Path) -> bool {
    let stem = path.file_stem().map(Path::new);
    let kind = stem.and_then(Path::extension);
    kind.is_some_and(|kind| kind == "scenario")
}

fn those(
    are_wanted: fn(&Path) -> bool,
    paths: &[PathBuf],
    mut each: impl FnMut(&Arc<str>, &str),
) -> Result<Vec<Problem>, Failure> {
    let mut problems = Vec::new();
    let mut give = |name: String, text: io::Result<String>| {
        let name = name.into();
        match text {
            Ok(text) => each(&name, &text),
            Err(error) => problems.push(unreadable(name, &error)),
        }
    };
    for path in paths {
        if path == Path::new("-") {
            give("-".to_owned(), text(io::stdin().lock()));
            continue;
        }
        let mut files = Vec::new();
        list(path, 0, are_wanted, &mut files)?;
        for file in files {
            give(file.display().to_string(), File::open(&file).and_then(text));
        }
    }
    Ok(problems)
}

/// The name and the text of one file; `-` is standard input.
pub(super) fn one(path: &Path) -> Result<(Arc<str>, String), Problem> {
    let name: Arc<str> = path.display().to_string().into();
    let text = if path == Path::new("-") {
        text(io::stdin().lock())
    } else {
        File::open(path).and_then(text)
    };
    match text {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(unreadable(name, &error)),
    }
}

fn unreadable(name: Arc<str>, error: &io::Error) -> Problem {
    Problem::unreadable(Place::of_file(name), format!("it can't be read: {error}"))
}

/// The folders in which a change may be one of these files: those that are named and those below, and
/// those that files are in, by their names and by what links lead to.
pub(super) fn folders<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in paths {
        for path in [Some(path.clone()), fs::canonicalize(path).ok()] {
            let Some(path) = path else { continue };
            if let Some(parent) = path.parent() {
                let here = parent.as_os_str().is_empty();
                folders.insert(if here { ".".into() } else { parent.to_owned() });
            }
            below(&path, 0, &mut folders);
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

fn below(path: &Path, depth: usize, folders: &mut BTreeSet<PathBuf>) {
    if depth == DEEPEST || folders.len() == MOST_FOLDERS || !path.is_dir() {
        return;
    }
    folders.insert(path.to_owned());
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        below(&entry.path(), depth + 1, folders);
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let name = path.display().to_string();
    Failure::new(Exit::Usage, format_args!("{}: {error}", escaped(&name)))
}

fn text(source: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("longer than 1 GiB"));
    }
    Ok(text)
}

/// The file itself, or the files in the folder and below.
fn list(
    path: &Path,
    depth: usize,
    are_wanted: fn(&Path) -> bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    let failed = |error| failure(path, &error);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth == DEEPEST {
        return Err(failure(
            path,
            &io::Error::other("too many folders in folders"),
        ));
    }
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut inside = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    inside.sort();
    for path in inside {
        let name = path.file_name().unwrap_or_default();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_document = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        if !is_hidden && ((is_document && are_wanted(&path)) || path.is_dir()) {
            list(&path, depth + 1, are_wanted, files)?;
        }
    }
    Ok(())
}
