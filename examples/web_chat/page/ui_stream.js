// The UI message stream, version 1: server-sent events to the parts of a message, named as in the AI SDK.

/** Yield the events of a response as they come; return true where it ended with its end mark. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      const lines = (text + value).split('\n');
      text = lines.pop();
      for (const line of lines) {
        if (!line.startsWith('data:')) continue; // a comment, or the empty line behind an event
        const data = line.slice(5).trim();
        if (data === '[DONE]') return true;
        yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const isTool = part => part.type.startsWith('tool-');

/** Put one event into a message. Its `ended` tells how the answer ended, once it has. */
export function take(message, event) {
  const last = find => message.parts.findLast(find);
  const tool = () => {
    let part = last(one => one.toolCallId === event.toolCallId);
    if (!part) {
      part = { type: `tool-${event.toolName}`, toolCallId: event.toolCallId, state: 'input-streaming', inputText: '' };
      message.parts.push(part);
    }
    return part;
  };
  switch (event.type) {
    case 'start':
      if (event.messageId) message.id = event.messageId;
      break;
    case 'start-step':
      message.parts.push({ type: 'step-start' });
      break;
    case 'text-start':
    case 'reasoning-start':
      message.parts.push({ type: event.type.slice(0, -6), id: event.id, text: '', state: 'streaming' });
      break;
    case 'text-delta':
    case 'reasoning-delta':
      last(part => part.id === event.id).text += event.delta;
      break;
    case 'text-end':
    case 'reasoning-end':
      last(part => part.id === event.id).state = 'done';
      break;
    case 'tool-input-start':
      tool();
      break;
    case 'tool-input-delta':
      tool().inputText += event.inputTextDelta;
      break;
    case 'tool-input-available':
      Object.assign(tool(), { state: 'input-available', input: event.input });
      break;
    case 'tool-approval-request':
      Object.assign(tool(), { state: 'approval-requested', approval: { id: event.approvalId } });
      break;
    case 'tool-output-available':
      Object.assign(tool(), { state: 'output-available', output: event.output });
      break;
    case 'tool-input-error':
    case 'tool-output-error':
      Object.assign(tool(), { state: 'output-error', errorText: event.errorText, input: tool().input ?? event.input });
      break;
    case 'tool-output-denied':
      tool().state = 'output-denied';
      break;
    case 'source-url':
      message.parts.push(event);
      break;
    case 'finish':
      message.metadata = event.messageMetadata;
      message.ended = { how: event.finishReason };
      break;
    case 'error':
      message.ended = { how: 'error', text: event.errorText };
      break;
    case 'abort':
      message.ended = { how: 'stopped' };
      break;
  }
}

/** The calls of a message that wait for the user. */
export const questionsOf = message => message.parts.filter(part => isTool(part) && part.state === 'approval-requested');

/** The calls whose answer by the user was not sent yet, or not carried out. */
export const isDecided = message => message.parts.some(part => isTool(part) && part.state === 'approval-responded');
