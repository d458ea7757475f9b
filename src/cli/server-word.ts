/** First argument of a process that is a server of a mount; its second is a ServerConfig as JSON. */
export const SERVER_WORD = 'fuse-server'
