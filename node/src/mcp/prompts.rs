//! Ways to work that a person can choose for a model.

use rmcp::model::{ErrorData, GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role};
use serde_json::Value;

/// The longest argument of a prompt, in bytes: it is the name of something.
const ARGUMENT_BYTES_MAX: usize = 1_024;

/// What a caller gave for an argument, by its name.
type Given<'a> = dyn Fn(&str) -> Option<String> + 'a;

struct Kind {
    name: &'static str,
    about: &'static str,
    /// Each argument, what it is, and whether it must be there.
    arguments: &'static [(&'static str, &'static str, bool)],
    text: fn(&Given) -> String,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "start-work",
        about: "Take tasks of a queue and work on them, one after another",
        arguments: &[
            ("queue", "the queue; default unless it is said", false),
            ("project", "the project; that of the server unless it is said", false),
        ],
        text: start_work,
    },
    Kind {
        name: "handoff",
        about: "Give a task that you hold to somebody else, so that nothing of the work is lost",
        arguments: &[
            ("task", "the id of the task", true),
            ("to", "who is to go on: a name; anybody unless it is said", false),
        ],
        text: hand_off,
    },
    Kind {
        name: "resolve-conflict",
        about: "Go on after a proposal lost, or a file was held by somebody else",
        arguments: &[("what", "the key, the file or the error", true)],
        text: resolve_conflict,
    },
];

fn start_work(argument: &Given) -> String {
    let queue = argument("queue")
        .map(|queue| format!(" with queue {queue:?}"))
        .unwrap_or_default();
    let project = argument("project");
    let project = project
        .map(|project| format!(" Pass project {project:?} to every tool."))
        .unwrap_or_default();
    format!(
        "Work as an agent of this colony.{project}\n\
         1. Call session_start and keep its session and token. Read prime: first finish what it says that you hold.\n\
         2. Call task_claim{queue} with the token and wait_ms 30000. When it has no task, say so and stop.\n\
         3. Before you edit, call reserve with the files that you will change, the token and the task. When others hold \
         them (HELD), work on what is free, or call task_finish with outcome released.\n\
         4. Work. Call task_update with the fence, the token and a note after each step; stop when it says cancel.\n\
         5. Call task_finish with the fence, the token, the outcome and a result that somebody else can check; then \
         reserve_release with all. On FENCED the task is not yours any more: drop it.\n\
         6. Go on with step 2."
    )
}

fn hand_off(argument: &Given) -> String {
    let task = argument("task").unwrap_or_default();
    let to = argument("to");
    let whom = to.as_deref().unwrap_or("whoever claims it next");
    let label = to
        .as_ref()
        .map(|to| format!(" Name {to:?} in the note."))
        .unwrap_or_default();
    format!(
        "Give task {task} to {whom} without losing what was done.\n\
         1. Bring what you have changed into a state that others can go on from, and call reserve_release for its files.\n\
         2. Call task_update for task {task} with your fence and token: a checkpoint with what is done, what is left, what \
         you tried in vain and where your changes are; and a note of one line.{label}\n\
         3. Call task_finish for it with outcome released. The next claim of it gets the checkpoint.\n\
         4. Call task_get with its id, and say who has it now."
    )
}

fn resolve_conflict(argument: &Given) -> String {
    let what = argument("what").unwrap_or_default();
    format!(
        "Something of yours met the work of others: {what}\n\
         - CONFLICT of propose or task_finish: details.reread names the keys with their present revisions. Read each by memory \
         with op get, see whose change it was (author) and what it means, make your change anew on top of it, and call propose \
         again with the new revisions in reads and the seq of the loss in follows. For text, a write with merge takes both.\n\
         - HELD of reserve or memory: details.conflicts names the holder and until when. Call reserve_check for what is free and \
         work on that; or reserve with wait_ms; never edit what somebody else holds. Only if the holder is gone, a person may ask \
         you to call reserve_release with force and a reason.\n\
         - FENCED or EXPIRED: what you held is no longer yours. Keep nothing of it; call session_start or task_claim anew.\n\
         Then say in one line what was in conflict, with whom, and how it was settled."
    )
}

pub(super) fn listed() -> Vec<Prompt> {
    KINDS
        .iter()
        .map(|kind| {
            let arguments = kind.arguments.iter().map(|(name, about, required)| {
                PromptArgument::new(*name)
                    .with_description(*about)
                    .with_required(*required)
            });
            Prompt::new(kind.name, Some(kind.about), Some(arguments.collect()))
        })
        .collect()
}

/// A prompt with its arguments filled in.
pub(super) fn filled(name: &str, arguments: &JsonObject) -> Result<GetPromptResult, ErrorData> {
    let wrong = |problem: String| ErrorData::invalid_params(problem, None);
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| wrong(format!("there is no prompt {name:?}")))?;
    for (given, value) in arguments {
        if !kind.arguments.iter().any(|(known, ..)| known == given) {
            return Err(wrong(format!("{given}: the prompt {name} does not take it")));
        }
        match value.as_str() {
            None => return Err(wrong(format!("{given}: {value} is no text"))),
            Some(text) if text.len() > ARGUMENT_BYTES_MAX => {
                let bytes = text.len();
                return Err(wrong(format!(
                    "{given}: {bytes} B are over the limit of {ARGUMENT_BYTES_MAX}"
                )));
            }
            Some(_) => {}
        }
    }
    let given = |name: &str| arguments.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some((missing, ..)) = kind
        .arguments
        .iter()
        .find(|(name, _, required)| *required && given(name).is_none())
    {
        return Err(wrong(format!("{missing}: is missing")));
    }
    let message = PromptMessage::new_text(Role::User, (kind.text)(&given));
    let mut result = GetPromptResult::new(vec![message]);
    result.description = Some(kind.about.to_owned());
    Ok(result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(name: &str, arguments: &Value) -> Result<String, String> {
        let filled = filled(name, arguments.as_object().unwrap()).map_err(|error| error.message.into_owned())?;
        let message = serde_json::to_value(&filled.messages[0]).unwrap();
        assert_eq!(message["role"], "user");
        Ok(message["content"]["text"].as_str().unwrap().to_owned())
    }

    #[test]
    fn arguments_stand_in_the_text_and_wrong_ones_are_named() {
        let start = text("start-work", &json!({ "queue": "builds" })).unwrap();
        assert!(start.contains("task_claim with queue \"builds\""), "{start}");
        let given = text("handoff", &json!({ "task": "17-0", "to": "ann" })).unwrap();
        assert!(given.contains("Give task 17-0 to ann"), "{given}");
        assert_eq!(text("handoff", &json!({})), Err("task: is missing".to_owned()));
        let wrong = text("resolve-conflict", &json!({ "what": "a", "who": "b" }));
        assert_eq!(
            wrong,
            Err("who: the prompt resolve-conflict does not take it".to_owned())
        );
        assert_eq!(
            text("lunch", &json!({})),
            Err("there is no prompt \"lunch\"".to_owned())
        );
    }

    #[test]
    fn prompts_name_only_tools_that_there_are() {
        for kind in &KINDS {
            let any = |_: &str| Some("x".to_owned());
            let text = (kind.text)(&any);
            let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
            for word in words.filter(|word| {
                ["task_", "session_", "reserve_", "memory_"]
                    .iter()
                    .any(|prefix| word.starts_with(prefix))
            }) {
                assert!(crate::mcp::tools::named(word).is_some(), "{}: {word}", kind.name);
            }
        }
    }
}
