/** Which server scenarios of the conformance suite apply to the broker on which wire, and why the others do not. */

export const WIRES = ["2025-11-25", "2026-07-28"];

/** These hold for any server, whatever its tools; they are run on each wire that the suite knows them for. */
export const APPLIES = [
  "caching",
  "dns-rebinding-protection",
  "http-header-validation",
  "input-required-result-unsupported-methods",
  "ping",
  "prompts-list",
  "resources-list",
  "sep-2164-resource-not-found",
  "server-initialize",
  "server-session-lifecycle",
  "server-sse-multiple-streams",
  "server-stateless",
  "tools-list",
];

/** Single checks of a scenario above that a server without the suite's fixtures cannot pass; all others have to. */
export const UNTESTABLE = {
  "server-stateless": {
    "sep-2575-server-rejects-undeclared-capability": "calls the fixture tool test_missing_capability",
    "sep-2575-missing-capability-http-400": "calls the fixture tool test_missing_capability",
    "sep-2575-http-server-no-independent-requests-on-stream": "calls the fixture tool test_streaming_elicitation",
    "sep-2575-server-no-log-without-loglevel": "calls the fixture tool test_logging_tool",
  },
};

const tool = (name) => `needs the fixture tool ${name}`;
const prompt = (name) => `needs the fixture prompt ${name}`;
const resource = (uri) => `needs the fixture resource ${uri}`;
const TASKS = "the tasks extension: the broker has no tasks";
const SKILLS = "the skills extension: the broker has no skills";

/** Every other server scenario of the suite, with the reason why it does not apply. */
export const DOES_NOT_APPLY = {
  "completion-complete": "the broker offers no completions: its arguments are a handle, a room and free text",
  "elicitation-sep1034-defaults": tool("test_elicitation_sep1034_defaults"),
  "elicitation-sep1330-enums": tool("test_elicitation_sep1330_enums"),
  "http-custom-header-server-validation": "needs a tool with x-mcp-header arguments; the broker's have none",
  "input-required-result-basic-elicitation": tool("test_input_required_result_elicitation"),
  "input-required-result-basic-list-roots": tool("test_input_required_result_list_roots"),
  "input-required-result-basic-sampling": tool("test_input_required_result_sampling"),
  "input-required-result-capability-check": tool("test_input_required_result_capabilities"),
  "input-required-result-ignore-extra-params": tool("test_input_required_result_elicitation"),
  "input-required-result-missing-input-response": tool("test_input_required_result_elicitation"),
  "input-required-result-multi-round": tool("test_input_required_result_multi_round"),
  "input-required-result-multiple-input-requests": tool("test_input_required_result_multiple_inputs"),
  "input-required-result-non-tool-request": prompt("test_input_required_result_prompt"),
  "input-required-result-request-state": tool("test_input_required_result_request_state"),
  "input-required-result-result-type": tool("test_input_required_result_elicitation"),
  "input-required-result-tampered-state": tool("test_input_required_result_tampered_state"),
  "input-required-result-validate-input": tool("test_input_required_result_elicitation"),
  "json-schema-2020-12": tool("json_schema_2020_12_tool"),
  "logging-set-level": "the broker sends no log messages to clients, and does not declare that it does",
  "prompts-get-embedded-resource": prompt("test_prompt_with_embedded_resource"),
  "prompts-get-simple": prompt("test_simple_prompt"),
  "prompts-get-with-args": prompt("test_prompt_with_arguments"),
  "prompts-get-with-image": prompt("test_prompt_with_image"),
  "resources-read-binary": resource("test://static-binary"),
  "resources-read-text": resource("test://static-text"),
  "resources-subscribe": resource("test://watched-resource"),
  "resources-templates-read": resource("test://template/{id}/data"),
  "resources-unsubscribe": resource("test://watched-resource"),
  "sep-2640-skills-directory": SKILLS,
  "sep-2640-skills-enumeration": SKILLS,
  "sep-2640-skills-manifest": SKILLS,
  "server-sse-polling": tool("test_reconnection"),
  "tasks-capability-negotiation": TASKS,
  "tasks-dispatch-and-envelope": TASKS,
  "tasks-lifecycle": TASKS,
  "tasks-mrtr-composition": TASKS,
  "tasks-mrtr-input": TASKS,
  "tasks-request-headers": TASKS,
  "tasks-request-state-removal": TASKS,
  "tasks-required-task-error": TASKS,
  "tasks-status-notifications": TASKS,
  "tasks-wire-fields": TASKS,
  "tools-call-audio": tool("test_audio_content"),
  "tools-call-elicitation": tool("test_elicitation"),
  "tools-call-embedded-resource": tool("test_embedded_resource"),
  "tools-call-error": tool("test_error_handling"),
  "tools-call-image": tool("test_image_content"),
  "tools-call-mixed-content": tool("test_multiple_content_types"),
  "tools-call-sampling": tool("test_sampling"),
  "tools-call-simple-text": tool("test_simple_text"),
  "tools-call-with-logging": tool("test_tool_with_logging"),
  "tools-call-with-progress": tool("test_tool_with_progress"),
};
