export { traceEvents } from './events.js'
export type { TraceEventName, TraceRecord, TraceRecordOf } from './record.js'
export type { TraceStream } from './stream.js'
export type { TraceOptions } from './streams.js'
