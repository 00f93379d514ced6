{{- define "manyhands.labels" -}}
app.kubernetes.io/name: manyhands
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "manyhands.selector" -}}
app.kubernetes.io/name: manyhands
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "manyhands.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else }}{{ .Release.Name }}{{ end }}
{{- end }}

{{- define "manyhands.blobsClaim" -}}
{{- if .Values.blobs.existingClaim }}{{ .Values.blobs.existingClaim }}{{ else }}{{ .Release.Name }}-blobs{{ end }}
{{- end }}

{{- define "manyhands.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "manyhands.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "manyhands.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "manyhands.probes" -}}
startupProbe:
  httpGet: { path: /readyz, port: ops }
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /readyz, port: ops }
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: { path: /healthz, port: ops }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{- define "manyhands.commonEnv" -}}
- { name: MANYHANDS_LOG_LEVEL, value: {{ .Values.logLevel | quote }} }
{{- end }}

{{- define "manyhands.redisEnv" -}}
- name: REDIS_URL
  valueFrom: { secretKeyRef: { name: {{ include "manyhands.secret" . }}, key: redis-url } }
{{- end }}

{{- define "manyhands.natsEnv" -}}
- name: NATS_URL
  valueFrom: { secretKeyRef: { name: {{ include "manyhands.secret" . }}, key: nats-url } }
{{- end }}

{{- define "manyhands.secret" -}}
{{ required "existingSecret is needed: a secret with the keys redis-url, nats-url, api-key and model-api-key" .Values.existingSecret | quote }}
{{- end }}
