// A chat page on React and the AI SDK's own useChat: what a user of the SDK would write, and no more.
import { useChat } from '@ai-sdk/react';
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from 'ai';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';

const id = location.hash.slice(1);
const kept = JSON.parse(sessionStorage.getItem(id) ?? '[]');

function Part({ part, answer }) {
  if (part.type === 'text') return <p className="text">{part.text}</p>;
  if (part.type === 'reasoning') return <p className="reasoning">{part.text}</p>;
  if (!part.type.startsWith('tool-')) return null;
  return (
    <div className="tool">
      {part.type} {part.state} {JSON.stringify(part.output ?? part.errorText ?? part.input)}
      {part.state === 'approval-requested' && [true, false].map(approved => (
        <button key={approved} onClick={() => answer({ id: part.approval.id, approved })}>{approved ? 'Allow' : 'Deny'}</button>
      ))}
    </div>
  );
}

function Chat() {
  const [text, setText] = useState('');
  const { messages, status, error, sendMessage, stop, regenerate, addToolApprovalResponse } = useChat({
    id,
    messages: kept,
    resume: true,
    transport: new DefaultChatTransport({ api: '/api/chat' }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  useEffect(() => sessionStorage.setItem(id, JSON.stringify(messages)), [messages]);
  return (
    <>
      {messages.map(message => (
        <article key={message.id} className={message.role}>
          {message.parts.map((part, index) => <Part key={index} part={part} answer={addToolApprovalResponse} />)}
        </article>
      ))}
      <p id="status">{status}</p>
      {error && <p id="error">{error.message}</p>}
      <form onSubmit={event => { event.preventDefault(); sendMessage({ text }); setText(''); }}>
        <input autoFocus value={text} onChange={event => setText(event.target.value)} />
      </form>
      <button onClick={() => { fetch(`/api/chat/${id}/stop`, { method: 'POST' }); stop(); }}>Stop</button>
      <button onClick={() => regenerate()}>Try again</button>
    </>
  );
}

createRoot(document.getElementById('root')).render(<Chat />);
