"""What agent harnesses wrap around the words of a user, as a table.

To teach the recipe a new harness, add rows to RULES; tests wrap a prompt by each row and expect it back unharmed.
Bump the default of TextRecipe.version when a change of the rows alters windows that a released bundle was trained on.
"""

from enum import Enum
from typing import NamedTuple


class Form(Enum):
    """How an envelope shows itself.

    TAG: `<name ...>` to `</name>`.
    BRACKET: `[name]` to `[/name]`.
    LABEL: a turn that begins with these words; what follows is noise to the end of the fenced block under it, else
        as far as `extent` says.
    LEAD: a turn that begins with the opening words and holds the closing words at the start of a line; what the user
        wrote stands behind the last of them, up to one of ENDS.
    PATTERN: a turn whose beginning a regular expression matches; noise as far as `extent` says.
    HEADING: a line that begins with `[name]` or `[name: ...]`; noise up to the next blank line.
    FENCE: a fenced block whose info string is the name.
    """

    TAG = "tag"
    BRACKET = "bracket"
    LABEL = "label"
    LEAD = "lead"
    PATTERN = "pattern"
    HEADING = "heading"
    FENCE = "fence"


class Inside(Enum):
    """Whose words an envelope holds.

    NOISE: the harness's.
    PART: the user's, and words outside of it may be the user's too.
    ALL: the user's, and all that the user said in this turn.
    """

    NOISE = "noise"
    PART = "part"
    ALL = "all"


class Extent(Enum):
    """How far a LABEL or PATTERN reaches.

    LINE: to the end of its line.
    TURN: to the end of the turn, unless its last paragraph asks something.
    JSON: to the end of the JSON value that begins there.
    """

    LINE = "line"
    TURN = "turn"
    JSON = "json"


class Rule(NamedTuple):
    """One envelope.

    Attributes:
        kind: slug that is offered as a segment key; several rules may share one.
        form: how it shows itself.
        opening: name of a TAG, BRACKET, HEADING or FENCE, the expression of a PATTERN, else the words that begin it.
        closing: the words that end a LEAD; the name of a TAG or BRACKET.
        inside: whose words it holds.
        common: the name may as well stand in code or prose that a user typed: it counts only where it begins a line
            outside of a fenced block.
        extent: how far a LABEL or PATTERN reaches.
        example: a turn that a PATTERN matches.
    """

    kind: str
    form: Form
    opening: str
    closing: str
    inside: Inside
    common: bool = False
    extent: Extent = Extent.LINE
    example: str = ""


def _pairs(kind: str, form: Form, inside: Inside, names: str, *, common: bool = False) -> tuple[Rule, ...]:
    return tuple(Rule(kind, form, name, name, inside, common) for name in names.split())


def _named(kind: str, form: Form, *names: str) -> tuple[Rule, ...]:
    return tuple(Rule(kind, form, name, "", Inside.NOISE) for name in names)


def _labels(kind: str, extent: Extent, *openings: str) -> tuple[Rule, ...]:
    return tuple(Rule(kind, Form.LABEL, opening, "", Inside.NOISE, extent=extent) for opening in openings)


def _leads(kind: str, closings: tuple[str, ...], *openings: str) -> tuple[Rule, ...]:
    return tuple(Rule(kind, Form.LEAD, opening, closing, Inside.ALL) for opening in openings for closing in closings)


_ASKS = ("Question:", "User question:", "User Question:", "Query:", "User query:", "User Query:", "### User Query:")

RULES: tuple[Rule, ...] = (
    # Reminders, hooks and other words of the harness to the model.
    *_pairs(
        "reminder",
        Form.TAG,
        Inside.NOISE,
        "system-reminder system_reminder system-notification system_notification reminderInstructions "
        "reminder_instructions user-prompt-submit-hook EXTREMELY_IMPORTANT EXTREMELY-IMPORTANT task-notification "
        "subagent_notification turn_aborted assistant_context fast_mode_info",
    ),
    *_pairs("reminder", Form.TAG, Inside.NOISE, "reminder important_rules", common=True),
    *_pairs("reminder", Form.BRACKET, Inside.NOISE, "reminder system-reminder system", common=True),
    *_named("reminder", Form.HEADING, "reminder", "system", "system reminder", "system note", "system notice"),
    # Where the agent runs.
    *_pairs(
        "environment",
        Form.TAG,
        Inside.NOISE,
        "environment_context environment_details environment_info workspace_info user_info project_layout git_status "
        "RUNTIME_INFORMATION REPOSITORY_INFO EXTRA_INFO collaboration_mode permissions",
    ),
    *_pairs("environment", Form.TAG, Inside.NOISE, "environment env", common=True),
    *_named("environment", Form.HEADING, "environment", "environment context"),
    # Standing instructions and memories.
    *_pairs(
        "instructions",
        Form.TAG,
        Inside.NOISE,
        "user_instructions INSTRUCTIONS REPOSITORY_INSTRUCTIONS custom_instructions skills_instructions "
        "always_applied_workspace_rules agent_skills available_skills manually_attached_skills "
        "apps_instructions plugins_instructions",
    ),
    *_labels("instructions", Extent.LINE, "# AGENTS.md instructions"),
    *_pairs("instructions", Form.TAG, Inside.NOISE, "rules workspace_rules", common=True),
    *_pairs("instructions", Form.BRACKET, Inside.NOISE, "instructions", common=True),
    *_pairs("memory", Form.TAG, Inside.NOISE, "userMemory user_memory user_memories MEMORY relevant_memories"),
    *_pairs("memory", Form.TAG, Inside.NOISE, "memory memories", common=True),
    *_pairs("memory", Form.BRACKET, Inside.NOISE, "memory memories", common=True),
    *_named("memory", Form.HEADING, "memory", "memories"),
    # Retrieved passages and other context.
    *_pairs("context", Form.TAG, Inside.NOISE, "additional_data editorContext repository_context loaded_context"),
    *_pairs(
        "context",
        Form.TAG,
        Inside.NOISE,
        "context contexts documents document search_results sources chat_history conversation_history",
        common=True,
    ),
    *_pairs("context", Form.BRACKET, Inside.NOISE, "context documents history", common=True),
    *_named("context", Form.HEADING, "context", "background", "retrieved context", "search results"),
    *_leads(
        "context",
        _ASKS,
        "Use the following",
        "Use only the following",
        "Answer the question",
        "Answer the following",
        "Answer the user",
        "Context:",
        "Context information is below",
        "Given the following",
        "Based on the following",
        "You are an assistant for question-answering",
        "### Task:",
    ),
    *_leads(
        "context",
        ("### Question", "## Question", "# Question", "## User request", "## User Request", "### User"),
        *("### Context", "## Context", "# Context\n"),
    ),
    *_leads("context", ("[Question]", "[User]", "[Query]", "[Current User Query]"), "[Context]", "[History]"),
    # What the editor shows, and attachments.
    *_pairs(
        "ide",
        Form.TAG,
        Inside.NOISE,
        "ide_selection ide_opened_file ide_diagnostics ide_context open_and_recently_viewed_files "
        "recently_viewed_files current_file code_selection linter_errors post-tool-use-hook new-diagnostics",
    ),
    *_leads(
        "ide",
        ("## My request for Codex:",),
        "# Context from my IDE setup:",
        "# Files mentioned by the user:",
        "This block is automatically supplied",
    ),
    *_pairs("files", Form.TAG, Inside.NOISE, "attached_files file_contents file_content uploaded_files folder_content"),
    *_pairs("files", Form.TAG, Inside.NOISE, "attachments attachment file files", common=True),
    # Commands that the user ran in the harness. What was typed behind a command is the user's.
    *_pairs(
        "command",
        Form.TAG,
        Inside.NOISE,
        "command-message command-name command-contents local-command-stdout local-command-stderr "
        "local-command-caveat bash-input bash-stdout bash-stderr user_shell_command",
    ),
    *_pairs("command", Form.TAG, Inside.PART, "command-args"),
    *_labels("command", Extent.LINE, "Caveat: The messages below were generated by the user while running"),
    # Results of tools in a user turn. These have no end of their own: the turn is theirs.
    *_pairs(
        "tool-result",
        Form.TAG,
        Inside.NOISE,
        "tool_result tool-result tool_results tool_response tool_output tool_use_result function_results "
        "function_result function_call_output persisted-output",
    ),
    *_pairs("tool-result", Form.BRACKET, Inside.NOISE, "tool_result tool_response tool_output"),
    *_named("tool-result", Form.HEADING, "tool result", "tool output", "function result"),
    *_named(
        "tool-result",
        Form.FENCE,
        *("tool_result", "tool_results", "tool_output", "tool_outputs", "tool_response", "tool", "function_result"),
    ),
    *_labels(
        "tool-result",
        Extent.TURN,
        "Tool result:",
        "Tool results:",
        "Tool output:",
        "Tool response:",
        "TOOL RESPONSE:",
        "TOOL RESULT:",
        "Function result:",
        "Observation:",
        "OBSERVATION:",
        "EXECUTION RESULT of [",
        "[ERROR] You did not use a tool",
    ),
    Rule(
        "tool-result",
        Form.PATTERN,
        r"\[[a-z_]{2,40}(?: for [^\n\]]{0,400})?\] Result:",
        "",
        Inside.NOISE,
        extent=Extent.TURN,
        example="[list_things for 'here'] Result:\n\none thing",
    ),
    Rule(
        "tool-result",
        Form.PATTERN,
        r'(?:\[\s{0,40})?\{\s{0,40}"(?:type"\s?:\s?"(?:tool_result|function_call_output)|tool_use_id|tool_call_id)"',
        "",
        Inside.NOISE,
        extent=Extent.JSON,
        example='[\n  {"type": "tool_result", "content": "one thing"}\n]',
    ),
    # Messages about the session itself, and what chat bridges say of the sender.
    *_labels(
        "notice",
        Extent.TURN,
        "This session is being continued from a previous conversation",
    ),
    *_labels("notice", Extent.LINE, "[Request interrupted by user", "[Image: source:"),
    *_labels(
        "metadata",
        Extent.LINE,
        "Conversation info (untrusted",
        "Sender (untrusted",
        "Thread starter (untrusted",
        "Replied message (untrusted",
        "Forwarded message context (untrusted",
        "Chat history since last reply (untrusted",
    ),
    *_leads("metadata", ("[Current message - respond to this]",), "[Chat messages since your last reply"),
    # Reasoning that a client sent back.
    *_pairs("thinking", Form.TAG, Inside.NOISE, "think thinking antml:thinking", common=True),
    # The user's own words.
    *_pairs("query", Form.TAG, Inside.ALL, "user_query userRequest user_request user_message user_input user-query"),
    *_pairs("query", Form.TAG, Inside.ALL, "feedback user_feedback", common=True),
    *_pairs("query", Form.TAG, Inside.PART, "task question query answer prompt request", common=True),
    *_pairs("query", Form.BRACKET, Inside.PART, "INST user question query", common=True),
)

# Where a template ends the user's question and asks for the answer.
ENDS: tuple[str, ...] = ("\nAnswer:", "\nHelpful Answer:", "\nThought:", "\nAssistant:", "\n[/Question]", "\n[Answer]")
