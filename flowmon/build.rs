//! Builds the kernel side, package `flowmon-ebpf`, into `$OUT_DIR/flowmon.bpf.o`.
//!
//! `FLOWMON_EBPF_OBJECT=path` takes that object instead (relative to the workspace), and
//! `FLOWMON_EBPF_OBJECT=none` an empty file: enough to check userspace, refused by the loader.
//! `FLOWMON_EBPF_TOOLCHAIN` names a rustup toolchain, or `debian` for `/usr/bin/rustc`; by default
//! the first usable one of `nightly` and `debian` is taken.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The LLVM that `scripts/setup` builds bpf-linker with. rustc hands it LLVM bitcode, which only
/// the same major version is sure to read, so the eBPF toolchain must be on this LLVM too.
const LLVM: &str = "22";

/// BPF instruction set: v3, which Linux 5.1 and newer run, has the 32-bit registers that packet
/// headers are made of.
const CPU: &str = "v3";

const REMEDY: &str = "./scripts/setup installs what is missing; \
     FLOWMON_EBPF_OBJECT=none builds without the kernel side, for checking only";

/// Variables of cargo and rustup that mean the same to the inner cargo. All others of theirs were
/// set for this build script or for the userspace build (clippy's wrapper, profile overrides,
/// target directory, toolchain...) and would change the object.
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_TERM_",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        // cargo shows a script's stderr, here the inner cargo's, only if the script fails.
        Err(Failure::Compiler) => ExitCode::FAILURE,
        // And it fails the build for these lines alone, without showing anything else.
        Err(Failure::Setup(message)) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::SUCCESS
        }
    }
}

enum Failure {
    /// Something is missing: the message says what.
    Setup(String),
    /// The kernel side did not compile: the inner cargo has said why.
    Compiler,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Setup(message)
    }
}

fn build() -> Result<(), Failure> {
    let workspace = Path::new("..");
    let object = PathBuf::from(var("OUT_DIR")?).join("flowmon.bpf.o");

    println!("cargo::rerun-if-env-changed=FLOWMON_EBPF_OBJECT");
    match env::var_os("FLOWMON_EBPF_OBJECT") {
        Some(none) if none == "none" => {
            fs::write(&object, []).map_err(|error| format!("{}: {error}", object.display()))?;
        }
        Some(prebuilt) => {
            let prebuilt = workspace.join(prebuilt);
            rerun_if_changed(&prebuilt);
            copy(&prebuilt, &object)?;
        }
        None => copy(&compile(workspace)?, &object)?,
    }
    Ok(())
}

/// Runs the inner cargo and returns the object it made.
fn compile(workspace: &Path) -> Result<PathBuf, Failure> {
    let toolchain = Toolchain::find()?;
    let linker = find_linker()?;
    let target = match var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    // Not cargo's own target directory: the outer cargo holds its lock. Beside the profiles
    // (OUT_DIR is <target>/<profile>/build/<package>/out), so that all of them share one `core`.
    let out_dir = PathBuf::from(var("OUT_DIR")?);
    let target_dir = out_dir.ancestors().nth(4).unwrap_or(&out_dir).join("ebpf");

    let mut cargo = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os() {
        if must_not_leak(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(workspace)
        .args(["build", "--package", "flowmon-ebpf", "--release"])
        // The outer cargo has just brought Cargo.lock up to date; an inner cargo of another
        // version must not rewrite it.
        .args([
            "--locked",
            "-Z",
            "build-std=core",
            "--target",
            target,
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTC", &toolchain.rustc)
        // build-std and the bpf target are unstable; Debian's rustc is no nightly.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            format!(
                "CARGO_TARGET_{}_LINKER",
                target.to_uppercase().replace('-', "_")
            ),
            &linker,
        )
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags()?);

    let status = cargo
        .status()
        .map_err(|error| format!("{}: {error}", toolchain.cargo.display()))?;
    if !status.success() {
        return Err(Failure::Compiler);
    }

    // Only now: cargo runs a script that failed again in any case.
    for source in ["flowmon-ebpf", "flowmon-common", "Cargo.toml", "Cargo.lock"] {
        rerun_if_changed(&workspace.join(source));
    }
    rerun_if_changed(&toolchain.rustc);
    rerun_if_changed(&linker);
    println!("cargo::rerun-if-env-changed=FLOWMON_EBPF_TOOLCHAIN");
    Ok(target_dir.join(target).join("release").join("flowmon-ebpf"))
}

/// What compiles the kernel side.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self, String> {
        if let Ok(name) = env::var("FLOWMON_EBPF_TOOLCHAIN") {
            return Self::named(&name)
                .map_err(|reason| format!("FLOWMON_EBPF_TOOLCHAIN={name}: {reason}\n{REMEDY}"));
        }
        Self::named("nightly").or_else(|nightly| {
            Self::named("debian").map_err(|debian| {
                format!(
                    "no toolchain to build the kernel side with:\n\
                     nightly: {nightly}\ndebian: {debian}\n{REMEDY}"
                )
            })
        })
    }

    fn named(name: &str) -> Result<Self, String> {
        if name == "debian" {
            // Debian packages rustc-web and rust-web-src; any cargo will do.
            return Self::at(Path::new("/usr"), var("CARGO")?.into());
        }
        let sysroot =
            output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]))?;
        let sysroot = Path::new(sysroot.trim());
        Self::at(sysroot, sysroot.join("bin/cargo"))
    }

    fn at(sysroot: &Path, cargo: PathBuf) -> Result<Self, String> {
        let rustc = sysroot.join("bin/rustc");
        let version = output(Command::new(&rustc).arg("-vV"))?;
        let llvm = version
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
            .unwrap_or("unknown");
        if llvm != LLVM {
            return Err(format!(
                "LLVM of {} is {llvm}, bpf-linker's is {LLVM}",
                rustc.display()
            ));
        }
        let source = sysroot.join("lib/rustlib/src/rust/library/core");
        if !source.exists() {
            return Err(format!(
                "the source of core is missing ({})",
                source.display()
            ));
        }
        Ok(Self { cargo, rustc })
    }
}

fn find_linker() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .map(|dir| dir.join("bpf-linker"))
        .find(|linker| linker.is_file())
        .ok_or_else(|| format!("bpf-linker is neither in PATH nor in ~/.cargo/bin\n{REMEDY}"))
}

fn rustflags() -> Result<String, String> {
    let arch = match var("CARGO_CFG_TARGET_ARCH")? {
        arch if arch.starts_with("riscv64") => "riscv64".into(), // aya's name for all of them
        arch => arch,
    };
    Ok([
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        format!("-Ctarget-cpu={CPU}"),
        "-Cdebuginfo=2".into(), // BTF is made from debug info
        "-Clink-arg=--btf".into(),
    ]
    .join("\x1f"))
}

fn must_not_leak(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let theirs = name == "RUSTUP_TOOLCHAIN"
        || ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS"]
            .iter()
            .any(|it| name.starts_with(it));
    theirs && !KEPT.iter().any(|kept| name.starts_with(kept))
}

fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    // rustup would append a backtrace to its message.
    let output = command
        .env_remove("RUST_BACKTRACE")
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn var(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|error| format!("{}: {error}", from.display()))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
