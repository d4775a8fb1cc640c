//! `queenright completions`, `queenright man` and `queenright openapi`: the command line, told to shells and to man, and the
//! doors, told to those who make clients.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{CliError, Context};
use crate::cli::{Cli, CompletionsArgs, ManArgs, OpenapiArgs};
use crate::exit::Exit;
use crate::http;

const NAME: &str = "queenright";

/// Prints the completions for a shell.
///
/// # Errors
/// [`CliError::Stdout`].
pub fn completions(args: &CompletionsArgs, context: &Context) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::definition(), NAME, &mut script);
    context.print_bytes(&script)?;
    Ok(Exit::Ok)
}

/// Prints the OpenAPI document of the doors.
///
/// # Errors
/// [`CliError::Stdout`].
pub fn openapi(_: &OpenapiArgs, context: &Context) -> Result<Exit, CliError> {
    let text = serde_json::to_string_pretty(&http::document()).expect("a JSON value is plain data");
    context.print_bytes(format!("{text}\n").as_bytes())?;
    Ok(Exit::Ok)
}

/// Writes a page for each command, those below others too.
///
/// # Errors
/// [`CliError::Failed`] when a page cannot be written; those before it are.
pub fn run(args: &ManArgs, context: &Context) -> Result<Exit, CliError> {
    let refused = |what: String, source: std::io::Error| CliError::Failed {
        message: format!("cannot {what}"),
        source: source.into(),
    };
    let folder = &args.folder;
    fs::create_dir_all(folder).map_err(|error| refused(format!("create {}", folder.display()), error))?;
    let mut pages = Vec::new();
    // Global flags are then part of each page.
    let mut command = Cli::definition().disable_help_subcommand(true);
    command.build();
    collect(command, String::new(), &mut pages);
    for page in &pages {
        write(folder, page).map_err(|error| refused(format!("write {}", page.path(folder).display()), error))?;
    }
    let (count, shown) = (pages.len(), folder.display().to_string());
    let text = format!("{count} pages are in {shown}; the first one is {NAME}(1)");
    context.answer(&json!({ "folder": shown, "pages": count }), text)?;
    Ok(Exit::Ok)
}

/// A command and the name of its page.
struct Page {
    name: String,
    command: clap::Command,
}

impl Page {
    fn path(&self, folder: &Path) -> std::path::PathBuf {
        folder.join(format!("{}.1", self.name))
    }
}

/// Adds the pages of a command below another one, which has this prefix.
fn collect(command: clap::Command, prefix: String, pages: &mut Vec<Page>) {
    let name = match &prefix[..] {
        "" => NAME.to_owned(),
        prefix => format!("{prefix}-{}", command.get_name()),
    };
    let below: Vec<clap::Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        .cloned()
        .collect();
    pages.push(Page {
        name: name.clone(),
        command,
    });
    for command in below {
        collect(command, name.clone(), pages);
    }
}

fn write(folder: &Path, page: &Page) -> std::io::Result<()> {
    let manual = clap_mangen::Man::new(page.command.clone()).title(page.name.to_uppercase());
    let mut text = Vec::new();
    manual.render(&mut text)?;
    fs::write(page.path(folder), text)
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::cli::{Cli, ManArgs};
    use crate::commands::Context;

    #[test]
    fn each_command_has_a_page_with_its_flags_and_examples() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context {
            json: false,
            quiet: true,
        };
        let pages = folder.path().join("man1");
        run(&ManArgs { folder: pages.clone() }, &context).unwrap();
        let page = |name: &str| std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        let claim = page("queenright-task-claim");
        for word in [".TH", "QUEENRIGHT", "Example", "\\-\\-json"] {
            assert!(claim.contains(word), "{word}: {claim}");
        }
        // Every command of the first level, and those below it.
        for command in Cli::definition().get_subcommands() {
            let name = format!("queenright-{}", command.get_name());
            assert!(page(&name).contains(".SH SYNOPSIS"), "{name}");
        }
    }
}
