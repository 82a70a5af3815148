{{- define "tunehook.name" -}}
{{- if contains "tunehook" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-tunehook" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tunehook.labels" -}}
app.kubernetes.io/name: tunehook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Selector of the pods of one part: (dict "root" . "part" "service"). */}}
{{- define "tunehook.selector" -}}
app.kubernetes.io/name: tunehook
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "tunehook.secret" -}}
{{ .Values.existingSecret | default (include "tunehook.name" .) }}
{{- end }}

{{- define "tunehook.image" -}}
{{ .repository }}:{{ .tag | default .version }}
{{- end }}

{{- define "tunehook.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tunehook.hardened" -}}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end }}

{{/* What service and worker have in common. */}}
{{- define "tunehook.container" -}}
image: {{ include "tunehook.image" (merge (dict "version" .Chart.AppVersion) .Values.image) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "tunehook.hardened" . }}
envFrom:
  - configMapRef: {name: {{ include "tunehook.name" . }}}
  - secretRef: {name: {{ include "tunehook.secret" . }}}
{{- if .Values.redis.enabled }}
env:
  - name: REDIS_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ include "tunehook.secret" . }}, key: REDIS_PASSWORD}}
  - name: REDIS_URL
    value: "redis://tunehook:$(REDIS_PASSWORD)@{{ include "tunehook.name" . }}-redis:6379/0"
{{- end }}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "tunehook.serviceContainer" -}}
- name: service
  command: [python, -m, service]
  ports: [{name: http, containerPort: 8080}]
  startupProbe:
    httpGet: {path: /livez, port: http}
    periodSeconds: 2
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    periodSeconds: 5
    timeoutSeconds: 5
  livenessProbe:
    httpGet: {path: /livez, port: http}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources: {{ toYaml .Values.service.resources | nindent 4 }}
  {{- include "tunehook.container" . | nindent 2 }}
{{- end }}

{{- define "tunehook.workerContainer" -}}
- name: worker
  command: [python, -m, worker]
  # Fails too while Redis is away, and a restart does not help then: so it is patient.
  livenessProbe:
    exec: {command: [python, -m, worker, --healthcheck]}
    initialDelaySeconds: 30
    periodSeconds: 30
    timeoutSeconds: 15
    failureThreshold: 10
  resources: {{ toYaml .Values.worker.resources | nindent 4 }}
  {{- include "tunehook.container" . | nindent 2 }}
{{- end }}

{{- define "tunehook.volumes" -}}
volumes:
  {{- if eq .Values.storage.mode "bucket" }}
  - name: data
    emptyDir: {sizeLimit: 64Mi}
  {{- else }}
  - name: data
    persistentVolumeClaim: {claimName: {{ .Values.storage.existingClaim | default (include "tunehook.name" .) }}}
  {{- end }}
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{- define "tunehook.checksums" -}}
checksum/settings: {{ printf "%s%s" (toJson .Values.settings) (toJson .Values.secrets) | sha256sum }}
{{- end }}
