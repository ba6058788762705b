//! `authseal rules new`: a rule and its tests to begin with. They load and pass before they are written.

use super::{read, shown};
use crate::{
    artifact::File,
    cli::{
        exit::{self, Failure},
        print,
    },
    detect::{RuleSet, testing},
};
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

const RULE: &str = include_str!("template.rhai");
const TESTS: &str = include_str!("template.test.rhai");

const EXAMPLES: &str = "\
Examples:
  authseal rules new ACME-0007 \"Refresh token used again\"
  authseal rules new ACME-0008 \"Logons at night\" --dir detections";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Id of the rule: letters, digits, - and _
    #[arg(value_name = "ID")]
    id: String,
    /// Its name; the files are called after it
    #[arg(value_name = "NAME")]
    name: String,
    /// Folder of the rules
    #[arg(long, value_name = "DIR", default_value = "rules")]
    dir: PathBuf,
}

pub(super) fn new(args: &Args) -> Result<u8, Failure> {
    let stem = stem(&args.name)?;
    let fill = |template: &str| {
        let quoted = args.name.replace('\\', "\\\\").replace('"', "\\\"");
        template.replace("%ID%", &args.id).replace("%NAME%", &quoted).replace("%STEM%", &stem)
    };
    let made = [(format!("{stem}.rhai"), fill(RULE)), (format!("{stem}.test.rhai"), fill(TESTS))];
    for (path, _) in &made {
        if args.dir.join(path).exists() {
            let path = args.dir.join(path);
            return Err(Failure::usage(format!("{} is there already: nothing was written", path.display())));
        }
    }
    let files = made.iter().map(|(path, text)| File { path: path.clone(), bytes: text.as_str().into() });
    try_out(&args.dir, files.collect())?;
    std::fs::create_dir_all(&args.dir).map_err(|e| Failure::usage(format!("creating {}: {e}", args.dir.display())))?;
    for (path, text) in &made {
        let path = args.dir.join(path);
        let written = OpenOptions::new().write(true).create_new(true).open(&path);
        let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|e| Failure::usage(format!("writing {}: {e}", path.display())))?;
    }
    let paths = made.map(|(path, _)| args.dir.join(path).display().to_string());
    let dir = args.dir.display();
    print(&format!(
        "{}\n{}\n\nEdit both, then:\n  authseal rules check {dir}\n  authseal rules test {dir}\n  \
         authseal rules explain --rules {dir} --rule {} events.ndjson\n  \
         authseal rules backtest --rules {dir} --rule {} STORE\nIts mode is \"shadow\": findings are counted and not \
         published.",
        paths[0], paths[1], args.id, args.id
    ))?;
    Ok(exit::GOOD)
}

/// Loads the new files by themselves, and with those that are there: an id must not be taken.
fn try_out(dir: &Path, made: Vec<File>) -> Result<(), Failure> {
    let told = |problems: &[crate::detect::Problem]| {
        let lines: Vec<String> = problems.iter().map(|problem| shown(dir, problem)).collect();
        Failure::usage(lines.join("\n"))
    };
    RuleSet::load(&made).map_err(|problems| told(&problems))?;
    if let Some(failed) = testing::run(&made).iter().find(|report| !report.passed()) {
        return Err(told(&failed.failures));
    }
    // rules that are broken for other reasons must not keep anybody from beginning another one
    if let Ok(others) = read(dir)
        && RuleSet::load(&others).is_ok()
    {
        let all: Vec<File> = others.into_iter().chain(made).collect();
        RuleSet::load(&all).map_err(|problems| told(&problems))?;
    }
    Ok(())
}

/// The name of the files: lower case, words joined by underscores.
fn stem(name: &str) -> Result<String, Failure> {
    if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        return Err(Failure::usage("NAME must be 1 to 200 characters without line breaks"));
    }
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let stem = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_");
    if stem.is_empty() {
        return Err(Failure::usage("NAME needs a letter or a digit of ASCII: the files are called after it"));
    }
    Ok(stem.chars().take(60).collect::<String>().trim_end_matches('_').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_after_the_rule() {
        assert_eq!(stem("Refresh token used again!").unwrap(), "refresh_token_used_again");
        assert_eq!(stem("a/../b").unwrap(), "a_b");
        assert_eq!(stem(&"ab ".repeat(60)).unwrap().len(), 59);
        for bad in ["", " ", "a\nb", "…", &"x".repeat(300)] {
            assert!(stem(bad).is_err(), "{bad}");
        }
    }
}
