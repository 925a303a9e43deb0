// The chat: what is said, what is kept, and what is shown. The answer is a stream that any tab may read again from its beginning.
import { showMarkdown } from './markdown.js';
import { eventsOf, isDecided, questionsOf, take } from './ui_stream.js';

const API = '/api/chat';
const PAUSES = [500, 1000, 2000, 4000, 8000]; // milliseconds before each try to find a lost connection again
const MEANINGS = {
  length: 'The answer was cut at the length limit.',
  'content-filter': 'The answer was cut by a content filter.',
  stopped: 'You stopped this answer.',
};

const $ = id => document.getElementById(id);
const make = (tag, className = '', text = '') => Object.assign(document.createElement(tag), { className, textContent: text });
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');

let id, messages, tabs; // of the chat that is shown
let reading = null; // an AbortController while an answer is read
let stopping = false;
let isFull = false; // the browser keeps no more

// ---- What is kept: the conversation, in this browser. Other tabs are told of each change.

const load = () => JSON.parse(localStorage.getItem(`chat-${id}`) ?? '[]');

function keep(others) {
  try {
    localStorage.setItem(`chat-${id}`, JSON.stringify(messages));
  } catch {
    isFull = true;
  }
  if (others) tabs.postMessage(others);
}

function open() {
  reading?.abort();
  tabs?.close();
  if (!location.hash) history.replaceState(null, '', `#${newId()}`);
  id = location.hash.slice(1);
  tabs = new BroadcastChannel(`chat-${id}`);
  tabs.onmessage = ({ data }) => {
    if (data === 'stopping') stopping = true;
    else show();
  };
  show();
}

/** Show what is kept, and read on what is not at its end. */
function show() {
  reading?.abort();
  messages = load();
  $('messages').replaceChildren();
  elements = new WeakMap();
  messages.forEach(render);
  const last = messages.at(-1);
  if (last?.role === 'assistant' && !last.ended) follow(last, resume);
  else idle();
}

// ---- What is asked.

const post = (trigger, message) => signal => fetch(API, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    id,
    trigger,
    messageId: message.base ? message.id : undefined,
    messages: messages.filter(one => one !== message || message.base).map(({ id, role, parts }) => ({ id, role, parts })),
  }),
  signal,
});

const resume = signal => fetch(`${API}/${encodeURIComponent(id)}/stream`, { signal });

function send(text) {
  messages.push({ id: newId(), role: 'user', parts: [{ type: 'text', text }] });
  messages.slice(-2).forEach(render); // the message before has nothing to decide or to repeat any more
  ask('submit-message');
}

/** Ask for an answer: a new message, or the rest of one behind the user's decision. */
function ask(trigger, message) {
  if (!message) {
    message = { id: newId(), role: 'assistant', parts: [], base: 0 };
    messages.push(message);
  }
  delete message.ended;
  message.past = messages.findLast(one => one.stream)?.stream;
  keep();
  follow(message, post(trigger, message));
}

function decide(message, call, approved) {
  const part = message.parts.find(one => one.toolCallId === call); // a replay has made it anew
  part.approval.approved = approved;
  part.state = 'approval-responded';
  if (questionsOf(message).length) {
    keep('decided');
    render(message);
    return;
  }
  message.base = message.parts.length;
  $('text').focus();
  ask('submit-message', message);
}

function retry(message) {
  if (message.base) {
    message.parts.length = message.base;
    ask('submit-message', message);
    return;
  }
  messages.pop();
  elementOf(message).remove();
  ask('regenerate-message');
}

async function stop() {
  if (!reading) return;
  const controller = reading;
  stopping = true;
  tell('Stopping…');
  tabs.postMessage('stopping');
  const told = await fetch(`${API}/${encodeURIComponent(id)}/stop`, { method: 'POST' }).catch(() => null);
  // The answer's own end comes as its last event. Where nobody writes one, we stop to listen.
  if (!told?.ok) controller.abort('stopped');
}

// ---- How an answer is read.

/** Read an answer into a message. Where the connection is lost, the answer goes on without us: read it again. */
async function follow(message, request) {
  const controller = reading = new AbortController();
  stopping = false;
  busy();
  for (let tries = 0; !message.ended; request = resume) {
    const began = performance.now();
    try {
      const response = await request(controller.signal);
      if (response.status === 204) {
        message.ended = { how: 'error', text: 'The answer was cut off.' };
      } else if (!response.ok) {
        message.ended = { how: 'error', text: (await response.text()) || `the server answered ${response.status}` };
      } else {
        const stream = response.headers.get('X-Stream-Id');
        if (stream === message.past) {
          message.ended = { how: 'error', text: 'The message was not sent.' }; // and this is the answer to the one before
          break;
        }
        message.stream = stream;
        if (request !== resume) keep('asked'); // now other tabs find the answer, too
        message.parts.length = Math.min(message.parts.length, message.base); // a replay begins at the beginning
        for await (const event of eventsOf(response)) {
          if (controller.signal.aborted && !stopping) return;
          takeSafely(message, event);
          draw(message);
        }
      }
      if (!message.ended) throw new TypeError('the connection ended before the answer');
    } catch (error) {
      if (controller.signal.aborted && controller.signal.reason !== 'stopped') return; // another tab or chat has taken over
      if (performance.now() - began > 10_000) tries = 0;
      if (message.ended) break;
      if (stopping) message.ended = { how: 'stopped' };
      else if (!(error instanceof TypeError)) message.ended = { how: 'error', text: 'The answer could not be read.' };
      else if (tries === PAUSES.length) message.ended = { how: 'error', text: 'The answer was cut off: the server cannot be reached.' };
      else {
        tell('The connection was lost. Trying again…');
        await new Promise(resolve => {
          setTimeout(resolve, PAUSES[tries++]);
          addEventListener('online', resolve, { once: true });
          controller.signal.addEventListener('abort', resolve, { once: true });
        });
      }
    }
  }
  if (stopping && message.ended.how === 'error') message.ended = { how: 'stopped' };
  reading = null;
  keep();
  render(message);
  announce(message);
  idle();
}

function takeSafely(message, event) {
  try {
    take(message, event);
  } catch (cause) {
    throw new Error('this is not the stream that we know', { cause });
  }
}

// ---- What is shown.

let elements = new WeakMap();
let drawn = null;

function elementOf(message) {
  let element = elements.get(message);
  if (!element) {
    element = make('article', message.role);
    element.append(make('h2', message.role === 'user' ? 'unseen' : '', message.role === 'user' ? 'You' : 'Assistant'), make('div'), make('div'));
    elements.set(message, element);
    $('messages').append(element);
  }
  return element;
}

/** Draw at the next frame: tokens may come faster than a screen shows them. */
function draw(message) {
  tell(statusOf(message));
  if (drawn) return;
  drawn = setTimeout(() => {
    drawn = null;
    if (messages.includes(message)) render(message);
  }, document.hidden ? 500 : 30);
}

/** Say what goes on. The same words again would be read out again. */
function tell(text) {
  if ($('status').textContent !== text) $('status').textContent = text;
}

function statusOf(message) {
  const part = message.parts.at(-1);
  if (part?.type === 'reasoning') return 'Thinking…';
  return part?.type.startsWith('tool-') ? 'Working…' : 'Answering…';
}

function render(message) {
  const atEnd = innerHeight + scrollY > document.documentElement.scrollHeight - 80;
  const element = elementOf(message);
  const [, parts, end] = element.children;
  element.ariaBusy = message.role === 'assistant' && !message.ended;
  if (message.role === 'user') {
    parts.textContent = message.parts.map(part => part.text).join('');
  } else {
    const shown = message.parts.filter(part => part.type !== 'step-start');
    shown.forEach((part, index) => {
      let box = parts.children[index];
      if (box?.dataset.type !== part.type) {
        const made = make('div');
        made.dataset.type = part.type;
        if (box) box.replaceWith(made);
        else parts.append(made);
        box = made;
      }
      renderPart(box, part, message);
    });
    while (parts.children.length > shown.length) parts.lastChild.remove();
    renderEnd(end, message);
  }
  $('empty').hidden = messages.length > 0;
  if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
}

function renderPart(box, part, message) {
  if (part.type === 'text') {
    box.className = 'markdown';
    showMarkdown(box, part.text);
  } else if (part.type === 'reasoning') {
    if (!box.firstChild) box.append(folded('', 'reasoning-text'));
    const [summary, text] = box.firstChild.children;
    summary.textContent = part.state === 'streaming' && !message.ended ? 'Thinking…' : 'Thoughts';
    text.textContent = part.text;
  } else if (part.type === 'source-url') {
    const link = make('a', '', part.title || part.url);
    if (/^https?:/i.test(part.url)) Object.assign(link, { href: part.url, target: '_blank', rel: 'noopener noreferrer nofollow' });
    box.replaceChildren('Source: ', link);
  } else {
    renderTool(box, part, message);
  }
}

const STATES = {
  'input-streaming': 'is being called…',
  'input-available': 'is running…',
  'approval-requested': 'needs your permission',
  'approval-responded': 'was answered by you',
  'output-available': 'is done',
  'output-error': 'failed',
  'output-denied': 'was not allowed',
};

function folded(title, className) {
  const details = make('details');
  details.append(make('summary', '', title), make('div', className));
  return details;
}

function renderTool(box, part, message) {
  const name = part.type.slice(5);
  box.className = 'tool';
  if (!box.firstChild) {
    const details = folded('', '');
    details.lastChild.append(make('pre'), make('pre'));
    box.append(details);
  }
  const [summary, body] = box.firstChild.children;
  const state = part.approval?.approved === false ? 'output-denied' : part.state;
  summary.textContent = `${name} ${message.ended && state.startsWith('input-') ? 'was not run' : STATES[state]}`;
  const [input, output] = body.children;
  input.textContent = part.input === undefined ? part.inputText : JSON.stringify(part.input, null, 2);
  output.textContent = part.errorText ?? (part.output === undefined ? '' : JSON.stringify(part.output, null, 2));
  output.hidden = !output.textContent;
  const asks = part.state === 'approval-requested' && message.ended && message === messages.at(-1);
  const question = box.querySelector('.question');
  if (!asks) question?.remove();
  else if (!question) {
    const made = make('div', 'question');
    made.role = 'group';
    made.ariaLabel = `Permission for ${name}`;
    const yes = make('button', 'yes', 'Allow');
    const no = make('button', '', 'Deny');
    yes.type = no.type = 'button';
    yes.onclick = () => decide(message, part.toolCallId, true);
    no.onclick = () => decide(message, part.toolCallId, false);
    made.append(make('p', '', `May I call ${name} with ${JSON.stringify(part.input)}?`), yes, no);
    box.prepend(box.firstChild, made);
  }
}

function renderEnd(end, message) {
  const { how, text } = message.ended ?? {};
  const bad = how === 'error';
  const told = bad ? text : MEANINGS[how];
  const usage = message.metadata?.usage;
  end.className = bad ? 'notice bad' : 'notice';
  end.replaceChildren();
  if (told) end.append(make('span', '', told.charAt(0).toUpperCase() + told.slice(1)));
  else if (how && usage) end.append(make('span', '', `${message.metadata.model}, ${usage.totalTokens} tokens`));
  if ((bad || how === 'stopped') && message === messages.at(-1)) {
    const again = make('button', '', isDecided(message) ? 'Go on' : 'Try again');
    again.type = 'button';
    again.onclick = () => retry(message);
    end.append(again);
  }
}

/** Say to a screen reader what came: once, in one piece. */
function announce(message) {
  const text = [...elementOf(message).querySelectorAll('.markdown, .question p, .notice span')].map(one => one.textContent);
  $('said').textContent = text.join('\n');
}

function busy() {
  $('send').hidden = true;
  $('stop').hidden = false;
  tell('Waiting for the answer…');
}

function idle() {
  if (document.activeElement === $('stop')) $('text').focus();
  $('send').hidden = false;
  $('stop').hidden = true;
  tell(isFull ? 'This browser has no room left: the conversation is lost when you close the page.' : '');
  $('empty').hidden = messages.length > 0;
}

// ---- What the user does.

$('form').onsubmit = event => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text || reading) return;
  $('text').value = '';
  send(text);
};
$('text').onkeydown = event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('form').requestSubmit();
  }
};
$('stop').onclick = stop;
$('new').onclick = () => {
  location.hash = newId();
  $('text').focus();
};
$('empty').onclick = event => {
  if (event.target.tagName === 'BUTTON' && !reading) {
    $('text').focus();
    send(event.target.textContent);
  }
};
addEventListener('keydown', event => {
  if (event.key === 'Escape') stop();
});
addEventListener('hashchange', open);
addEventListener('pagehide', () => reading && keep());
open();
